"""gRPC on the server's own HTTP/2: from the bytes of a connection to the calls on it.

``docs/design.md`` has a table of the modules, from the listening sockets to a message's prefix.
"""
