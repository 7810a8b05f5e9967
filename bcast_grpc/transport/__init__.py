"""The doors: one file for each, which only translates between a wire and the core's sessions."""
