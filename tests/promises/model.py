"""A server that keeps all promises, in a few lines: it makes records that are right."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

from hypothesis import strategies as st

from .records import Acked, Came, Client, Place, Present, Room, Saw, Sent, Told, Visit, Welcomed, Went

KEPT = 4

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["say"] * 8 + ["lose", "go", "go", "come", "come", "come", "restart", "retry", "retry"]),
        st.integers(0, 3),
    ),
    min_size=10,
    max_size=60,
)
"""What happens, and to which client."""


class Model:
    """One room with four clients, which come, talk, go and come back, while the server starts anew now and then.

    Args:
        durable: whether its order survives that.
    """

    def __init__(self, *, durable: bool) -> None:
        keys = ("ana", "bob", "eva", "leo")
        self.room = Room("lobby", durable, KEPT, [Client(key, echo=key == "leo") for key in keys])
        self._numbers = count(1)
        self._epochs = count(1)
        self._epoch = ""
        self._log: list[str] = []
        self._here: dict[str, Visit] = {}
        self._places: dict[str, Place] = {}
        self._unacknowledged: dict[str, list[str]] = {key: [] for key in keys}
        self._begin()

    def play(self, steps: list[tuple[str, int]]) -> Room:
        """Let it happen, then let everybody come, one say the last word, and one leave."""
        play: dict[str, Callable[[Client], None]] = {
            "say": self._say,
            "lose": self._lose,
            "retry": self._retry,
            "go": self._go,
            "come": self._come,
            "restart": self._restart,
        }
        clients = self.room.clients
        for client in clients[:3]:
            self._come(client)
        for what, who in steps:
            play[what](clients[who])
        for client in clients:
            self._come(client)
            self._retry(client)
        self._say(clients[0])
        self._go(clients[3])
        clients[3].gone = True
        return self.room

    def _begin(self) -> None:
        self._epoch = f"e{next(self._epochs)}"
        self._log = []

    @property
    def _head(self) -> Place:
        return Place(self._epoch, len(self._log))

    def _say(self, client: Client) -> None:
        if visit := self._here.get(client.key):
            self._retry(client)
            text = f"{client.key}/{next(self._numbers)}"
            visit.steps.append(Sent(text))
            visit.steps.append(Acked(text, self._accept(text)))

    def _lose(self, client: Client) -> None:
        """Accept a message, and break the stream off before it is acknowledged."""
        if visit := self._here.get(client.key):
            self._retry(client)
            text = f"{client.key}/{next(self._numbers)}"
            self._unacknowledged[client.key].append(text)
            visit.steps.append(Sent(text))
            del self._here[client.key]
            self._accept(text)
            self._tell(Went(client.key))

    def _retry(self, client: Client) -> None:
        if visit := self._here.get(client.key):
            for text in self._unacknowledged[client.key]:
                visit.steps.append(Sent(text))
                known = text in self._log
                seq = self._log.index(text) + 1 if known else self._accept(text).seq
                visit.steps.append(Acked(text, Place(self._epoch, seq), known))
            self._unacknowledged[client.key] = []

    def _accept(self, text: str) -> Place:
        self._log.append(text)
        for client in self.room.clients:
            if client.key in self._here:
                self._show(client, len(self._log))
        return self._head

    def _show(self, client: Client, seq: int) -> None:
        text = self._log[seq - 1]
        if client.echo or not text.startswith(f"{client.key}/"):
            self._here[client.key].steps.append(Saw(seq, text))
            self._places[client.key] = Place(self._epoch, seq)

    def _tell(self, notice: Came | Went) -> None:
        for key, visit in self._here.items():
            if key != notice.name:
                visit.steps.append(notice)

    def _go(self, client: Client) -> None:
        if self._here.pop(client.key, None):
            self._tell(Went(client.key))

    def _restart(self, _: Client) -> None:
        self._here = {}
        if not self.room.durable:
            self._begin()

    def _come(self, client: Client) -> None:
        if client.key in self._here:
            return
        after = self._places.get(client.key)
        visit = Visit(after)
        client.visits.append(visit)
        self._here[client.key] = visit
        self._tell(Came(client.key))
        first = max(1, len(self._log) - KEPT + 1)
        begin = gap = None
        if after and after.epoch != self._epoch:
            begin, gap = first - 1, Told(0, 0, "NEW_EPOCH")
            self._places[client.key] = Place(self._epoch, 0)
        elif after and after.seq + 1 < first:
            begin, gap = first - 1, Told(after.seq + 1, first - 1, "TRIMMED")
            self._places[client.key] = Place(self._epoch, first - 1)
        elif after:
            begin = after.seq
        else:
            self._places[client.key] = self._head
        visit.steps.append(Welcomed(self._head, after is not None and gap is None))
        visit.steps += [gap] if gap else []
        visit.steps.append(Present(frozenset(self._here)))
        for seq in range(len(self._log) if begin is None else begin, len(self._log)):
            self._show(client, seq + 1)
