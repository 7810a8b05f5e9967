"""A request that is no call: it is answered in words, as browsers and tools for HTTP show them."""

from __future__ import annotations

from google.rpc import code_pb2

from bcast_grpc.transport.grpc.call import Call, Carrier
from bcast_grpc.transport.grpc.headers import Head

PATIENCE_S = 1.0
"""How long the rest of a request is awaited before it is answered: some clients listen only then."""

_HEAD = Head("", PATIENCE_S, "identity", ())


class Refusal(Call):
    """An answer to a request that is no call.

    Args:
        fields: what it begins with, encoded.
        text: what is wrong with the request.
        has_body: whether the text is sent; a client that sent HEAD takes none.
    """

    __slots__ = ("_fields", "_has_body", "_text")

    def __init__(self, carrier: Carrier, stream_id: int, fields: bytes, text: str, *, has_body: bool) -> None:
        super().__init__(carrier, stream_id, _HEAD, 0)
        self._fields = fields
        self._text = text
        self._has_body = has_body

    @property
    def stalled(self) -> bool:
        """Never: it keeps nothing."""
        return False

    def received(self, payloads: object, size: int) -> None:
        """Ignore what came: it is no message."""
        self._unconsumed += size
        self._consume()

    def read_on(self) -> None:
        """Answer, once the client has said all."""
        if self.finished:
            self._reply()

    def write(self) -> bool:
        """Write what there is of the text, and then the end."""
        if self._rest and not self._put(self._rest):
            return False
        if self._rest:
            return True
        self.end(code_pb2.INTERNAL, self._text)
        return False

    def release(self) -> None:
        """Do nothing: there is nothing else."""

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
        if not self.over:
            self._reply()
