"""The log of one room."""
