"""The client library: ``bcast_grpc.connect`` and ``bcast_grpc.connect_sync``.

Begin with ``chat``, ``connection`` and ``call``::

    chat, sync, background               what an application uses, with and without ``async``
    connection, patience, backoff        one call after another
    address, names, choice, attempt      which server is called
    call, dial, handshake, status, tls   one call, from its first try to its status
    endings                              why it ended, and whether to reconnect
    unanswered, flushes, window          what is sent, until it is answered
    dispatcher, inbox, cursor, parts     what is received
    token, renewal                       who the client is
    fork                                 processes that are forked while a chat is open
"""

import os as _os

# gRPC's own fork handlers sometimes kill children with SIGSEGV while a connection is open. gRPC reads this variable
# when it is imported; set it before if you want the handlers all the same.
_os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
