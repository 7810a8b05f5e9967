"""gRPC on the server's own HTTP/2: from the bytes of a connection to the calls on it."""
