"""What all calls of a door share."""

from __future__ import annotations

from dataclasses import dataclass

from bcast_grpc.transport.door import Shared
from bcast_grpc.transport.framer import Framer
from bcast_grpc.transport.grpc.lane import Framings
from bcast_grpc.transport.grpc.unpacking import Unpacking
from bcast_grpc.transport.serving import Serving


@dataclass(frozen=True, slots=True)
class Resources:
    """What all calls of a door share.

    Attributes:
        shared: what all doors share.
        serving: the door's tasks.
        framer: puts prefixes before frames.
        framings: puts them into DATA frames, too.
        unpacking: bounds how many calls unpack at once.
    """

    shared: Shared
    serving: Serving
    framer: Framer
    framings: Framings
    unpacking: Unpacking
