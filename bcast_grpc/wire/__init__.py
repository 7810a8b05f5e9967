"""Encodes and decodes events and requests, in pure functions: a few modules for each format."""
