"""What servers say to each other."""
