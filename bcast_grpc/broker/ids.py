"""The ids that authors give their messages, by which retries are recognised."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b

from bcast_grpc.broker.history import Retention
from bcast_grpc.errors import ErrorCode, RequestError
from bcast_grpc.events import Stamp

ID_BYTES = 160
"""Memory of one id: a digest, an integer, and their share of a dictionary that has just grown."""

_DIGEST_BYTES = 15  # enough that no two ids share a digest by chance; Python rounds up the memory of a longer one
_SHARDS = 256
_SPLIT = 4096  # a dictionary of this size grows in less than a millisecond
_NS = 1_000_000_000
_64_BITS = (1 << 64) - 1


class Ids:
    """The ids of a room's messages, with their places, for as long as the retention says.

    Only a digest of an id is kept. The message's place and the two times are packed into one integer, to have few
    objects, and none that the garbage collector visits. Many ids are spread over many dictionaries, because a large
    dictionary takes long to grow.
    """

    __slots__ = ("_budget", "_retention", "_shards", "_window_ns")

    def __init__(self, retention: Retention) -> None:
        self._retention = retention
        self._budget = retention.budget
        self._window_ns = round(retention.dedup_s * _NS)
        self._shards: list[dict[bytes, int]] = [{}]

    def __len__(self) -> int:
        return sum(map(len, self._shards))

    def recall(self, time_ns: int, now_ns: int, key: str, id_: str, seq: int) -> Stamp | RequestError | None:
        """Return the place of an author's earlier message with this id. If there is none, remember its place.

        Args:
            time_ns: when the message is accepted, in nanoseconds since 1970.
            now_ns: the time on the steady clock.
            key: the author's key.
            id_: the id that the author gave.
            seq: where the message goes if it is new.

        Returns:
            The place of the earlier message; None if there was none; ``RATE_LIMITED`` if the id is new, and no more can
            be remembered.
        """
        budget = self._budget
        digest = _digest(key, id_)
        shard = self._shard(digest)
        packed = shard.get(digest)
        if packed is not None:
            if _arrival_ns(packed) > now_ns - self._window_ns:
                return Stamp(packed >> 128, packed & _64_BITS)
            self._drop(shard, [digest])
        if budget.ids >= budget.max_ids:
            self._expire(shard, now_ns)
            if budget.ids_full:
                return self._refusal(now_ns)
        self._put(shard, digest, seq, time_ns, now_ns)
        return None

    def recall_at(self, time_ns: int, now_ns: int) -> Callable[[str, str, int], Stamp | RequestError | None]:
        """Return what does the same as ``recall`` for messages accepted at these times, and faster if ids are new."""
        budget = self._budget
        times = max(now_ns, 0) << 64 | max(time_ns, 0)

        def recall(key: str, id_: str, seq: int) -> Stamp | RequestError | None:
            shards = self._shards
            digest = _digest(key, id_)
            shard = shards[digest[0]] if len(shards) > 1 else shards[0]
            if digest in shard or budget.ids >= budget.max_ids or now_ns >= budget.next_slot_ns:
                return self.recall(time_ns, now_ns, key, id_, seq)
            shard[digest] = seq << 128 | times
            budget.ids += ID_BYTES
            if len(shard) > _SPLIT and len(shards) == 1:
                self._split(shard)
            return None

        return recall

    def find(self, key: str, id_: str, now_ns: int) -> Stamp | None:
        """Return the place of an author's earlier message with this id, or None. Remembers nothing."""
        digest = _digest(key, id_)
        packed = self._shard(digest).get(digest)
        if packed is None or _arrival_ns(packed) <= now_ns - self._window_ns:
            return None
        return Stamp(packed >> 128, packed & _64_BITS)

    def refusal(self, now_ns: int) -> RequestError | None:
        """Return why a new id cannot be remembered; None if it can."""
        return self._refusal(now_ns) if self._budget.ids_full else None

    def add(self, key: str, id_: str, place: Stamp, now_ns: int) -> None:
        """Remember an id from ``now_ns`` on, on the steady clock, whether there is room or not."""
        digest = _digest(key, id_)
        shard = self._shard(digest)
        self._drop(shard, [digest] if digest in shard else [])
        self._put(shard, digest, *place, now_ns)

    def add_all(self, ids: Iterable[tuple[str, str, int]], time_ns: int, now_ns: int) -> None:
        """Remember the ids of messages that were accepted together, as ``add`` does, in a third of the time.

        Args:
            ids: an author's key, an id and a ``seq`` each.
            time_ns: when they were accepted, in nanoseconds since 1970.
            now_ns: the time on the steady clock.
        """
        times = max(now_ns, 0) << 64 | max(time_ns, 0)
        added = 0
        for key, id_, seq in ids:
            digest = _digest(key, id_)
            shard = self._shard(digest)
            added += shard.pop(digest, None) is None  # the oldest come first, so it is put at the end
            shard[digest] = seq << 128 | times
            if len(shard) > _SPLIT and len(self._shards) == 1:
                self._split(shard)
        self._budget.ids += ID_BYTES * added
        if added and now_ns >= self._budget.next_slot_ns:
            self._budget.begin_slot(now_ns)

    def forget(self, key: str, id_: str) -> None:
        """Forget an id whose message was not accepted after all."""
        digest = _digest(key, id_)
        shard = self._shard(digest)
        if digest in shard:
            self._drop(shard, [digest])

    def expire(self, now_ns: int) -> None:
        """Forget the ids that have expired by the steady clock."""
        self._budget.end_slots(now_ns - self._window_ns)
        for shard in self._shards:
            if shard:
                self._expire(shard, now_ns)
        if len(self._shards) > 1 and not any(self._shards):
            self._shards = [{}]

    def clear(self) -> None:
        """Forget all ids."""
        self._budget.ids -= ID_BYTES * len(self)
        self._shards = [{}]

    def __del__(self) -> None:  # so that code that drops these need not update the budget
        self._budget.ids -= ID_BYTES * len(self)

    def _shard(self, digest: bytes) -> dict[bytes, int]:
        shards = self._shards
        return shards[digest[0]] if len(shards) > 1 else shards[0]

    def _put(self, shard: dict[bytes, int], digest: bytes, seq: int, time_ns: int, now_ns: int) -> None:
        shard[digest] = seq << 128 | max(now_ns, 0) << 64 | max(time_ns, 0)
        budget = self._budget
        budget.ids += ID_BYTES
        if now_ns >= budget.next_slot_ns:
            budget.begin_slot(now_ns)
        if len(shard) > _SPLIT and len(self._shards) == 1:
            self._split(shard)

    def _split(self, whole: dict[bytes, int]) -> None:
        self._shards = [{} for _ in range(_SHARDS)]
        for digest, packed in whole.items():
            self._shards[digest[0]][digest] = packed

    def _expire(self, shard: dict[bytes, int], now_ns: int) -> None:
        self._drop(shard, list(_expired(shard, now_ns - self._window_ns)))

    def _drop(self, shard: dict[bytes, int], digests: list[bytes]) -> None:
        for digest in digests:
            del shard[digest]
        self._budget.ids -= ID_BYTES * len(digests)

    def _refusal(self, now_ns: int) -> RequestError:
        wait_s = self._budget.ids_expire_in_ns(now_ns, self._window_ns) / _NS
        return RequestError(
            ErrorCode.RATE_LIMITED,
            f"the server cannot remember more message ids: each is kept for {self._retention.dedup_s:g} s (dedup-s),"
            f" and they have reached their share of max-memory; try again in {wait_s:.3f} s, or send without an id",
            retry_after_s=wait_s,
        )


def _digest(key: str, id_: str) -> bytes:
    return blake2b(f"{len(key)}:{key}{id_}".encode(), digest_size=_DIGEST_BYTES).digest()


def _arrival_ns(packed: int) -> int:
    return packed >> 64 & _64_BITS


def _expired(shard: dict[bytes, int], oldest_ns: int) -> Iterator[bytes]:
    """Yield what arrived at ``oldest_ns`` or before. Those come first: a dictionary keeps the order of arrival."""
    for digest, packed in shard.items():
        if _arrival_ns(packed) > oldest_ns:
            return
        yield digest
