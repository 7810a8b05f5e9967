"""A broadcast server inside an application: in its own event loop, or in a thread of its own.

    python examples/embed.py

A shop announces paid orders in the room "orders". Any client may listen there; here Ana does, in the same program.
"""

import asyncio

from bcast_grpc import BcastError, Server, Settings, connect, connect_sync

SETTINGS = Settings(port=0)  # a free port; the names are those of the flags of `python -m bcast_grpc.server`


async def in_own_loop() -> None:
    """An application with an event loop: the server runs in it, and is awaited."""
    async with Server(SETTINGS) as server, connect(server.address, name="ana", room="orders") as ana:
        # With an id, and a name for the application that is the same after a restart, a message is sent only once.
        order = {"id": "order-17", "client": "shop", "name": "shop"}
        ack = await server.publish("orders", "order 17 is paid", data=b'{"order": 17}', **order)
        again = await server.publish("orders", "order 17 is paid", **order)
        print(f"seq {ack.seq}, queued for {ack.queued}; again: duplicate={again.duplicate}")

        event = await anext(ana)
        print(f"ana received: {event.sender}: {event.text} {event.data.decode()}")

        # A thread without an event loop uses server.sync, whose methods block.
        people = await asyncio.to_thread(server.sync.members, "orders")
        print("connected:", ", ".join(member.name for member in people))


def in_a_thread() -> None:
    """An application without an event loop: the server has a thread of its own, and its methods block."""
    with Server.in_thread(SETTINGS) as server, connect_sync(server.address, name="ana", room="orders") as ana:
        server.publish("orders", "order 18 is paid", name="shop")
        print("ana received:", next(iter(ana)).text)
        try:
            server.publish("orders", "")
        except BcastError as error:  # the same errors that clients get
            print(f"refused: {error.reason} ({error.code.name})")


if __name__ == "__main__":
    asyncio.run(in_own_loop())
    in_a_thread()
