"""The stream that holds the logs."""
