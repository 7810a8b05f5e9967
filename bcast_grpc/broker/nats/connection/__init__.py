"""The connection to a NATS server: what nats-py leaves to its users.

::

    target, versions      where it is, how to log in, and how old it may be
    connection, client    the connection, and nats-py's client below it
    requests, denials     answers to requests, and what the account may not do
"""
