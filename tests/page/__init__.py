"""The page in a real browser; all tests here share one, and so an event loop too."""
