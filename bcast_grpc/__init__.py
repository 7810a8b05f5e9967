"""Broadcast over gRPC: whatever a client sends, every other client connected to the same room receives."""

__version__ = "0.1.0"
