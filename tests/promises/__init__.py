"""The proof: what the contract promises holds, whatever breaks in between."""
