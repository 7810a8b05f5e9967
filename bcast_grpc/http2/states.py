"""The states of a stream, and what each kind of frame does in each state (RFC 9113, section 5.1)."""

from __future__ import annotations

from enum import Enum, IntEnum, auto
from itertools import islice


class Kind(IntEnum):
    """Kinds of frames."""

    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9


class State(Enum):
    """The state of a stream, seen from the server. How a stream closed is remembered for a while."""

    IDLE = auto()
    OPEN = auto()
    HALF_CLOSED_LOCAL = auto()
    HALF_CLOSED_REMOTE = auto()
    ENDED = auto()
    RESET_BY_US = auto()
    RESET_BY_PEER = auto()
    FORGOTTEN = auto()


OPEN, HALF_CLOSED_LOCAL, HALF_CLOSED_REMOTE = State.OPEN, State.HALF_CLOSED_LOCAL, State.HALF_CLOSED_REMOTE
"""The states of open streams; looking one up in its class takes 0.15 µs in Python 3.11."""


class Action(Enum):
    """What a frame does."""

    ACCEPT = auto()
    IGNORE = auto()
    STREAM_CLOSED = auto()  # RST_STREAM
    CONNECTION_CLOSED = auto()  # GOAWAY with STREAM_CLOSED
    CONNECTION_ERROR = auto()  # GOAWAY with PROTOCOL_ERROR


_ACCEPT, _IGNORE, _CLOSED = Action.ACCEPT, Action.IGNORE, Action.STREAM_CLOSED
_LATE, _ERROR = Action.CONNECTION_CLOSED, Action.CONNECTION_ERROR

# Columns: HEADERS, DATA, RST_STREAM, WINDOW_UPDATE. PRIORITY is allowed in any state, and PUSH_PROMISE in none.
_ROWS = {
    State.IDLE: (_ACCEPT, _ERROR, _ERROR, _ERROR),
    State.OPEN: (_ACCEPT, _ACCEPT, _ACCEPT, _ACCEPT),
    State.HALF_CLOSED_LOCAL: (_ACCEPT, _ACCEPT, _ACCEPT, _ACCEPT),
    State.HALF_CLOSED_REMOTE: (_CLOSED, _CLOSED, _ACCEPT, _ACCEPT),
    State.ENDED: (_LATE, _LATE, _IGNORE, _IGNORE),
    State.RESET_BY_US: (_IGNORE, _IGNORE, _IGNORE, _IGNORE),
    State.RESET_BY_PEER: (_CLOSED, _CLOSED, _IGNORE, _IGNORE),
    State.FORGOTTEN: (_ERROR, _IGNORE, _IGNORE, _IGNORE),
}
_COLUMNS = (Kind.HEADERS, Kind.DATA, Kind.RST_STREAM, Kind.WINDOW_UPDATE)

TABLE = {(state, kind): action for state, row in _ROWS.items() for kind, action in zip(_COLUMNS, row, strict=True)}
"""What a frame of a kind does to a stream in a state."""

REMEMBERED = 128
"""How many closed streams of a connection are remembered by how they closed."""


class Stream:
    """An open stream.

    Attributes:
        state: Open, or half closed.
        credit: What may be sent beyond the peer's initial window; negative when DATA have been sent.
        taken: Bytes of DATA received since the window was last opened.
        gathered: Those of them that the application has processed.
        length_left: Bytes that ``content-length`` still promises; None if the request has none.
    """

    __slots__ = ("credit", "gathered", "length_left", "state", "taken")

    def __init__(self, length: int | None) -> None:
        self.state = OPEN
        self.credit = 0
        self.taken = 0
        self.gathered = 0
        self.length_left = length


class Streams:
    """The streams of a connection: the open ones, and how the last ones closed.

    Attributes:
        open: The open streams, by their ids.
        highest: The highest id that the peer has used.
        most: How many have been open at once.
        opened: How many were opened and not yet counted as earned by the peer.
        ended: The same for those that ended without a reset.
    """

    __slots__ = ("_closed", "ended", "highest", "most", "open", "opened")

    def __init__(self) -> None:
        self.open: dict[int, Stream] = {}
        self.highest = 0
        self.most = 0
        self.opened = 0
        self.ended = 0
        self._closed: dict[int, State] | None = None

    def add(self, stream_id: int, length: int | None) -> Stream:
        """Open a stream."""
        stream = self.open[stream_id] = Stream(length)
        self.opened += 1
        self.most = max(self.most, len(self.open))
        return stream

    def state_of(self, stream_id: int) -> State:
        """The state of a stream. Even ids belong to the server, which opens none."""
        stream = self.open.get(stream_id)
        if stream is not None:
            return stream.state
        if stream_id > self.highest or not stream_id % 2:
            return State.IDLE
        return (self._closed or {}).get(stream_id, State.FORGOTTEN)

    def close(self, stream_id: int, how: State) -> None:
        """Close a stream, and remember only how."""
        self.open.pop(stream_id, None)
        if self._closed is None:
            self._closed = {}
        self._closed[stream_id] = how
        if len(self._closed) > REMEMBERED:
            self._closed = dict(islice(self._closed.items(), REMEMBERED // 2, None))

    def end_by_peer(self, stream_id: int) -> None:
        """Note that the peer has sent everything on an open stream."""
        self._end(stream_id, HALF_CLOSED_REMOTE)

    def end_by_us(self, stream_id: int) -> None:
        """Note that this side has sent everything on an open stream."""
        self._end(stream_id, HALF_CLOSED_LOCAL)

    def _end(self, stream_id: int, half: State) -> None:
        stream = self.open[stream_id]
        if stream.state in (OPEN, half):
            stream.state = half
        else:
            self.close(stream_id, State.ENDED)
            self.ended += 1
