"""Events and requests as bytes, and back: pure functions, one module for each format."""
