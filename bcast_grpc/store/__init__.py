"""Copy, inspect or check the file of a store, even while a server uses it."""
