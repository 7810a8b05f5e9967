"""Tests of HTTP/2 without I/O."""
