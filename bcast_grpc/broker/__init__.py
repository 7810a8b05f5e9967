"""Where the order of a room is made and kept."""
