"""gRPC over HTTP/2, spoken by the server itself: from the bytes of a connection to the calls on it."""
