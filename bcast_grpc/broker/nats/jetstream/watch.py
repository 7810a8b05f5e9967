"""Notices that the log does not answer, though a NATS server does: that one may be parted from the others."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from bcast_grpc.broker.nats.connection.connection import Connection
from bcast_grpc.broker.nats.connection.requests import Lost
from bcast_grpc.broker.nats.jetstream.courier import Courier

_PROBE_S = 2.0


async def watch(courier: Courier, connection: Connection, most_s: float) -> None:
    """Ask for something now and then, and go to another server where the log has not answered for ``most_s``.

    If it is only appends that it does not answer, another server has to be there: the same one would not either.
    """
    connection.prove = courier.probe
    while True:
        await asyncio.sleep(_PROBE_S)
        with suppress(Lost):
            await courier.probe()
        if courier.is_silent(most_s) or (courier.stores_nothing(most_s) and connection.has_others):
            await connection.move_on(f"the log has not answered for {most_s:g} s")
