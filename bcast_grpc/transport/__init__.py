"""The doors: each only translates between a wire and the core's sessions.

Begin with ``door``, ``stream`` and the shortest door, ``tcp_door`` with ``tcp_connection``::

    door, listeners, arrivals, address, serving, connections   what every door is made of
    stream, reading, coroutines, pace, lingering, ending       a client's stream, whatever carries it
    publishing, first_request, bearer                          single messages, and clients that present a token
    scheduler, turns, portions, small_reads                    the event loop, which all clients share
    liveness, tcp_info, socket_options                         whether a client is still there
    proxies, proxy_header, unfinished                          where it comes from, and what is kept of its messages
    grpc/, grpcio_door, rpc, health, framer, percent           gRPC, with two engines
    http_*, handshake, websocket                               the page and its WebSocket
    tcp_*                                                      plain sockets
    tls/                                                       TLS, for all of them
"""
