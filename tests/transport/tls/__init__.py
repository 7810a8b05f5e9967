"""TLS between the network and a door, both in the test's hands."""
