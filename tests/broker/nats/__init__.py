"""Tests of the broker over NATS, with real servers of it."""
