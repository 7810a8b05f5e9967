"""What a room's log asks its caller to do, and what it tells it.

Each input of a ``RoomLog`` returns a list of these, in the order in which they are to be carried out. Requests of the
log have a ticket, which their answer gives back. There is no need to answer a request: the log notices, and asks again
under another ticket. Answers to older tickets are ignored.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from bcast_grpc.broker.base import Outcome


class Append(NamedTuple):
    """Append ``data`` to the room's subject if the last record there is the one at ``expected``.

    Published with ``Nats-Expected-Last-Subject-Sequence: expected``, and never with a ``Nats-Msg-Id``. Answered by
    ``stored``; by ``refused`` on the error codes 10071 and 10164; by ``unknown`` on anything else: a timeout, a lost
    connection, another error.
    """

    ticket: int
    expected: int
    data: bytes


class ReadAfter(NamedTuple):
    """Read the room's records after ``sequence``: many at once, from any replica (batched direct get).

    Answered by ``records`` or ``failed``. With ``leader``, one record from the stream's leader is enough
    (``next_by_subj``): replicas have not had it repeatedly. With ``few``, some are enough: perhaps others are needed.
    """

    ticket: int
    sequence: int
    leader: bool
    few: bool = False


class ReadSince(NamedTuple):
    """Read the room's first record since a time from the stream's leader (``start_time``, ``next_by_subj``).

    Answered by ``records``, with none if there is none, or ``failed``. The time is in nanoseconds since 1970.
    """

    ticket: int
    time_ns: int


class ReadEnd(NamedTuple):
    """Read the room's last record from the stream's leader (``last_by_subj``). Answered by ``end`` or ``failed``."""

    ticket: int


class AskHeads(NamedTuple):
    """Ask the other servers for what they have told of the room. Answered by ``claimed``, and ``all_claimed``."""


class Forward(NamedTuple):
    """Send ``data`` to the server with the incarnation ``writer``, for its ``RoomLog.forwarded``. It may get lost."""

    writer: str
    data: bytes


class WakeAt(NamedTuple):
    """Call ``tick`` at ``time_ns`` of the steady clock or later. It replaces the earlier ``WakeAt`` of this log."""

    time_ns: int


class Began(NamedTuple):
    """From here on, the next message is ``after + 1`` of ``epoch``.

    It comes when the log is first read, when a new epoch begins, and (rarely) in the same epoch, where messages have
    expired from the log before this server read them: ``after`` is then greater than the head. What is in the history
    does not lead up to what follows, and the ids of messages in another epoch are forgotten.
    """

    epoch: str
    after: int


class Placed(NamedTuple):
    """The next ``Accepted`` begins at ``first``, and is what the record ``id`` at ``sequence`` in the stream holds."""

    first: int
    sequence: int
    id: str


class Stopped(NamedTuple):
    """The log has a record that this version cannot read. The log does nothing more; ``reason`` is for people."""

    reason: str


Read: TypeAlias = ReadAfter | ReadEnd | ReadSince

Action: TypeAlias = Append | AskHeads | Read | Forward | WakeAt | Began | Placed | Stopped | Outcome
"""The outcomes are those of an ``Order``: ``Accepted``, ``Repeated`` and ``Refused``."""
