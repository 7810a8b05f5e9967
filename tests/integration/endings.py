"""How calls end, and that the others go on; also where a client does not read."""

from __future__ import annotations

from grpc import StatusCode

from bcast_grpc.v1 import chat_pb2 as pb

from .peers import Door, Ending, Peer


def check(ending: Ending, code: StatusCode, reason: str, *, retryable: bool = False) -> None:
    """Check a status and its ``google.rpc.ErrorInfo``."""
    assert (ending.code, ending.reason, ending.domain) == (code, reason, "bcast_grpc")
    assert ending.retryable is retryable
    assert ending.text


async def check_goes_on(peer: Peer, other: Peer) -> None:
    """Check that a stream still works in both directions."""
    id_ = f"still here {len(peer.heard)}"  # another one each time, or it would be a retry
    await peer.say("still here", id=id_)
    assert (await peer.answer(id_)).kind == pb.EVENT_KIND_ACK
    assert (await other.hear()).message.endswith("still here")


def check_closing(ending: Ending) -> None:
    """Check the last words of a server that is shutting down."""
    assert (ending.code, ending.reason, ending.domain) == (StatusCode.UNAVAILABLE, "SHUTTING_DOWN", "bcast_grpc")
    assert ending.retryable
    *_, closing = [event for event in ending.before if event.kind != pb.EVENT_KIND_LEFT]
    assert closing.kind == pb.EVENT_KIND_CLOSING
    assert closing.message
    assert closing.closing.reason
    assert closing.closing.reconnect_after.ToTimedelta().total_seconds() > 0


async def stop_reading(door: Door) -> Peer:
    """Connect a client that does not read, with more queued for it than the connection holds."""
    slow, ana = await door.connect("slow"), await door.connect()
    for n in range(8):
        batch = [pb.ConnectRequest(data=bytes(60_000)) for _ in range(60)]
        await ana.send(pb.ConnectRequest(batch=[*batch, pb.ConnectRequest(msg="hola", id=f"{n}")]))
        await ana.answer(f"{n}")
    await ana.half_close()
    await ana.end()
    return slow
