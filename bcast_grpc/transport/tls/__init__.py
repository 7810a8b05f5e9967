"""TLS for every door: to a door, an encrypted connection looks like any other."""
