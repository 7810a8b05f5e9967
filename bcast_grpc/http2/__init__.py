"""The server's side of HTTP/2 (RFC 9113) without I/O: bytes in, events out, bytes out.

::

    connection = Connection(Limits(), time.monotonic)
    connection.start()
    connection.receive(data)
    while (event := connection.next_event()) is not None:
        ...  # connection.send_headers(…), connection.send_data(…)
    transport.writelines(connection.data_to_send())
"""

from bcast_grpc.http2.connection import Connection
from bcast_grpc.http2.errors import ErrorCode
from bcast_grpc.http2.fields import encode
from bcast_grpc.http2.frames import PREFACE, data_frame
from bcast_grpc.http2.limits import Limits

__all__ = ["PREFACE", "Connection", "ErrorCode", "Limits", "data_frame", "encode"]
