"""The class exercise's design, to be measured against: a thread for each client, and a list of sockets."""

import argparse
import json
import socket
import threading
from typing import Any

clients: list[socket.socket] = []
lock = threading.Lock()


def serve(client: socket.socket) -> None:
    """Relay what a client sends to all the others."""
    with lock:
        clients.append(client)
    client.sendall(b'{"message": "welcome"}\n')
    try:
        for line in client.makefile("r", encoding="utf-8"):
            request: dict[str, Any] = json.loads(line)
            if request["operacion"] == "broadcast":
                relay(client, request["msg"])
    except OSError:
        pass
    finally:
        with lock:
            clients.remove(client)


def relay(author: socket.socket, msg: str) -> None:
    """Send a message to everyone but its author."""
    data = (json.dumps({"message": msg}) + "\n").encode()
    with lock:
        for other in clients:
            if other is not author:
                other.sendall(data)


def main() -> None:
    """Accept clients."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    with socket.create_server(("127.0.0.1", parser.parse_args().port), backlog=1024) as listener:
        while True:
            client, _ = listener.accept()
            threading.Thread(target=serve, args=(client,), daemon=True).start()


if __name__ == "__main__":
    main()
