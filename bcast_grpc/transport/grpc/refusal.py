"""The answer to a request that is not a gRPC call, in words that browsers and HTTP tools show."""

from __future__ import annotations

import asyncio

from google.rpc import code_pb2

from bcast_grpc.transport.grpc.call import Call, Carrier
from bcast_grpc.transport.grpc.headers import Head

PATIENCE_S = 1.0
"""How long to wait for the rest of a request before answering: some clients read an answer only after that. As long may
the client take to read it: nothing else bounds how many such requests there are."""

_HEAD = Head("", PATIENCE_S, "identity", ())


class Refusal(Call):
    """Answers a request that is not a gRPC call.

    Args:
        carrier: the connection.
        stream_id: the id of the stream.
        fields: the header fields of the answer, encoded.
        text: what is wrong with the request.
        has_body: whether the text is sent as the body; not in answer to HEAD.
    """

    __slots__ = ("_fields", "_has_body", "_text")

    def __init__(self, carrier: Carrier, stream_id: int, fields: bytes, text: str, *, has_body: bool) -> None:
        super().__init__(carrier, stream_id, _HEAD, 0)
        self._fields = fields
        self._text = text
        self._has_body = has_body

    @property
    def stalled(self) -> bool:
        """Always False: it keeps nothing."""
        return False

    def received(self, payloads: object, size: int) -> None:
        """Ignore the data."""
        self._unconsumed += size
        self._consume()

    def read_on(self) -> None:
        """Answer, once the client has sent everything."""
        if self.finished:
            self._reply()

    def write(self) -> bool:
        """Write the rest of the text, then end."""
        if self._rest and not self._put(self._rest):
            return False
        if self._rest:
            return True
        self.end(code_pb2.INTERNAL, self._text)
        return False

    def release(self) -> None:
        """Do nothing: there is nothing to release."""

    def _reply(self) -> None:
        if not self._answered:
            self._answered = True
            self.carrier.send_headers(self, self._fields, ended=False)
            if self._has_body:
                self._rest = f"{self._text}\n".encode()
                self.carrier.wake(self)
            else:
                self.end(code_pb2.INTERNAL, self._text)

    def _expire(self) -> None:
        self._deadline = None
        if self._answered:
            self.end(code_pb2.INTERNAL, self._text)
        elif not self.over:
            self._reply()
            if not self.over:
                carrier = self.carrier
                loop = asyncio.get_running_loop()
                self._deadline = loop.call_later(PATIENCE_S, carrier.turns.soon, carrier.peer, self._expire)
