"""What servers that share their rooms write for each other."""
