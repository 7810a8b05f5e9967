"""The load: what it sends, what it finds wrong, what it tells."""
