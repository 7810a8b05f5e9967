"""What happens in a schedule: how large it is, and which faults come when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

SERVER_FAULTS = ("freeze", "crash", "break", "cut", "lose-live", "slow-live", "lose-answers", "lose-forwards")
PARTITIONS = ("leader-alone", "follower-alone", "leader-down", "follower-down")
STREAM_FAULTS = ("late-appends", "lag", "deposed", "stopped", *PARTITIONS)
LOSSES = ("purge", "purge-keep", "flood", "rollback", "rollback-split")
NEAR = "rollback-near"
"""The log goes back, and all servers can be reached soon, in any order. With other faults too it could not be seen."""

KINDS = (*SERVER_FAULTS, *STREAM_FAULTS, *LOSSES)


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault.

    Attributes:
        kind: one of ``KINDS``.
        at_ms: when it begins.
        length_ms: how long it lasts; how far back a rollback goes.
        server: the server that it strikes, if it strikes one.
    """

    kind: str
    at_ms: int
    length_ms: int = 1000
    server: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """A schedule. With its seed it says all that happens.

    Attributes:
        seed: of everything that is random.
        servers: how many.
        replicas: 1 or 3.
        messages: how many clients say.
        spread_ms: within which time.
        keep: how many records the log keeps; 0: all.
        max_age_ms: how long; 0: for ever.
        max_bytes: how large the stream may be, with what other rooms have stored; 0: as large as it gets.
        past: how many records of long ago the log has at the beginning.
        alone: whether the stream has no other rooms, so that places come again soon after a rollback.
        asks: whether a server asks the others what they have told, before it appends.
        faults: by time.
    """

    seed: int
    servers: int = 3
    replicas: int = 1
    messages: int = 40
    spread_ms: int = 4000
    keep: int = 0
    max_age_ms: int = 0
    max_bytes: int = 0
    past: int = 0
    alone: bool = False
    asks: bool = True
    faults: tuple[Fault, ...] = field(default=())

    @property
    def loses(self) -> bool:
        """Whether records may be gone that were in the log."""
        bounds = self.keep or self.max_age_ms or self.max_bytes
        return bool(bounds or any(fault.kind in (*LOSSES, NEAR) for fault in self.faults))

    @property
    def misleads(self) -> bool:
        """Whether the log may look as if it had lost records."""
        return self.loses or any(fault.kind in ("deposed", *PARTITIONS) for fault in self.faults)

    @property
    def ends_quietly(self) -> bool:
        """Whether nobody says anything after the faults, so that who missed the end hears of it from other servers."""
        return self.seed % 3 == 0 and not self.loses

    @property
    def splits(self) -> bool:
        """Whether a server that has not seen a lost end may come back before one that has."""
        return any(fault.kind == "rollback-split" for fault in self.faults)


def random_plan(seed: int, kinds: Sequence[str] = ()) -> Plan:
    """Return the schedule of a seed, with faults of any kind or of some ``kinds`` alone."""
    random = Random(f"plan {seed}")
    servers = random.choice((2, 3, 3, 3, 4))
    spread_ms = random.choice((300, 1500, 4000))
    wanted = random.random() < 0.35
    some = kinds or SERVER_FAULTS + STREAM_FAULTS + (LOSSES if wanted else ())
    faults = [
        Fault(
            random.choice(some),
            random.randrange(spread_ms + 500),
            int(20 * 2 ** random.uniform(0, 8)),
            random.randrange(servers),
        )
        for _ in range(random.choice((0, 1, 2, 3, 3, 4, 6)))
    ]
    max_age_ms = random.choice((0, 0, 0, 6000)) if wanted else 0
    return Plan(
        seed=seed,
        servers=servers,
        replicas=random.choice((1, 3)),
        messages=random.choice((6, 20, 40, 60)),
        spread_ms=spread_ms,
        keep=random.choice((0, 0, 0, 12)) if wanted else 0,
        max_age_ms=max_age_ms,
        max_bytes=random.choice((0, 0, 4000)) if wanted else 0,
        alone=random.random() < 0.5,
        past=random.choice((0, 0, 10, 50)) if not max_age_ms else 0,
        faults=tuple(sorted(faults, key=lambda fault: fault.at_ms)),
    )
