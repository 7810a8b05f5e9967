"""A broadcast server with Python's ``websockets`` and its ``broadcast()``, to be measured against."""

import argparse
import asyncio

from websockets.asyncio.server import ServerConnection, broadcast, serve

clients: set[ServerConnection] = set()


async def handle(client: ServerConnection) -> None:
    """Relay what a client sends to all the others."""
    clients.add(client)
    try:
        async for message in client:
            broadcast(clients - {client}, message)
    finally:
        clients.discard(client)


async def main() -> None:
    """Serve for ever."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    async with serve(handle, "127.0.0.1", parser.parse_args().port, compression=None, max_queue=1024) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
