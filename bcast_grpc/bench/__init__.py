"""Load on a server of one's own: many clients in a few processes that verify every delivery, and a summary."""
