"""The broker of many servers that share their rooms over NATS JetStream.

From the bottom to the top::

    names              the names of the stream and of the subjects
    log/               the log of one room, without I/O
    connection/        the connection to a NATS server
    cluster            which log it is
    jetstream/         the stream that holds the logs of all rooms
    peers/             what servers say to each other beside the log
    alarms             what wakes the logs of all rooms
    services           what an order needs of its broker
    order, unanswered  the order of one room, on its log
    orders             all orders that are in memory
    broker, tasks      what puts all of this together
"""
