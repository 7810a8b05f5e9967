"""What a storm is like, and what came of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from .records import Door, Room


@dataclass(frozen=True, slots=True)
class Weather:
    """What a storm is like.

    Attributes:
        durable: whether the server stores in a file.
        restores: whether that file, or the log, may be replaced by an older copy, and the log purged.
        seed: of everything that is left to chance.
        seconds: how long faults are injected.
        clients: at any time.
        every_s: the time between faults, on average.
        faults: which kinds; all if empty.
        doors: where clients come in, in turn.
        guarded: whether there is TLS, and clients present tokens that soon expire.
        servers: how many there are; a client comes to another one with each connection.
        replicas: how many NATS servers hold the log that they share; 0 where there is no log.
        talk_per_s: how often each of eight clients sends, on average; more clients send less often, since they share
            this process.
    """

    durable: bool
    seed: int
    seconds: float = 6.0
    clients: int = 8
    every_s: float = 0.5
    faults: tuple[str, ...] = ()
    doors: tuple[Door, ...] = ("grpc", "ws", "tcp")
    restores: bool = False
    guarded: bool = False
    servers: int = 1
    replicas: int = 0
    talk_per_s: float = 20

    @classmethod
    def shared(cls, replicas: int, seed: int, seconds: float, servers: int = 3, *, restores: bool = False) -> Weather:
        """Return that of servers that share a log: faults are fewer, since NATS needs seconds to recover."""
        return cls(
            True, seed, seconds, every_s=0.7, servers=servers, replicas=replicas, talk_per_s=8, restores=restores
        )


@dataclass(slots=True)
class Outcome:
    """The result of a storm.

    Attributes:
        count: messages, acks, deliveries, reconnects, gaps, faults by kind, and so on.
        recovery_s: how long it took until all was well, once the faults had stopped.
        outage_s: the longest that one client was without a stream.
        violations: of the promises, in words.
        rooms: the records.
        settings: what the server was told.
        logs: what each server wrote.
    """

    count: Counter[str] = field(default_factory=Counter)
    recovery_s: float = 0.0
    outage_s: float = 0.0
    violations: list[str] = field(default_factory=list)
    rooms: list[Room] = field(default_factory=list)
    settings: str = ""
    logs: list[list[str]] = field(default_factory=list)
