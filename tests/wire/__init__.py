"""Whatever flows is the same on both sides of a wire."""
