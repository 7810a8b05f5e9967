"""What one address, and one connection, may take of a server."""

from __future__ import annotations

from .conftest import Serve
from .peers import eventually


async def test_an_address_has_so_many_clients_over_all_doors(serve: Serve) -> None:
    """One more is refused at each door, and the text names the limit; a place that is left is free at once."""
    doors = await serve(http_port=0, tcp_port=0, max_clients_per_peer=3)
    ana, _, _ = await doors.connect("ana"), await doors.plug(), await doors.browse()
    await eventually(lambda: doors.server.hub.clients == 3)
    called = await doors.open(room="dev").end()
    read = await doors.open_reader().end()
    assert called.reason == read.reason == "SERVER_FULL"
    (plugged,) = await (await doors.plug()).end()
    (browsed,) = await (await doors.browse()).end()
    for event in (plugged, browsed):
        assert event["error"]["code"] == "ERROR_CODE_SERVER_FULL"
        assert "max-clients-per-peer" in event["error"]["reason"]
    ana.cancel()
    await eventually(lambda: doors.server.hub.clients == 2)
    await doors.connect("bob")


async def test_clients_that_were_refused_leave_nothing(serve: Serve) -> None:
    """However they end, no address is counted once all are gone."""
    doors = await serve(http_port=0, tcp_port=0, max_clients_per_peer=2)
    peers = doors.server.hub.capacity.peers
    for _ in range(3):
        ana, bob = await doors.connect(client="a"), await doors.connect(client="a", room="dev")
        again = await doors.connect(client="a")
        assert (await ana.end()).reason == "REPLACED"
        assert (await doors.open().end()).reason == "SERVER_FULL"
        bob.cancel()
        await again.half_close()
        await again.end()
        await eventually(lambda: not len(peers))


async def test_a_connection_has_so_many_streams(serve: Serve) -> None:
    """A client of gRPC waits with the next call until one of the others has ended."""
    door = await serve(max_streams_per_connection=2)
    ana, _ = await door.connect("ana"), await door.connect("bob")
    third = door.open("eva")
    await door.server.publish("lobby", "hola")
    assert door.server.hub.clients == 2
    await ana.half_close()
    await ana.end()
    await third.arrive()
