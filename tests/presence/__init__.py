"""Who is in a room on many servers, without a network."""
