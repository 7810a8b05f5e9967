"""Load on a deployment: many clients in a few processes that verify every delivery, and a summary."""
