"""What the programs that connect to a server share: their arguments, exit codes, and text that is safe to show."""
