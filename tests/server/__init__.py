"""Tests of the server: its settings, and what they become."""
