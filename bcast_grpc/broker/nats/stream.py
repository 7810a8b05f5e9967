"""The JetStream stream that holds the logs of all rooms of a cluster: its names, and how it is made or compared."""

from __future__ import annotations

import asyncio
import json
import logging
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bcast_grpc.broker.base import CannotOpen
from bcast_grpc.broker.history import Retention
from bcast_grpc.broker.nats.connection import Connection
from bcast_grpc.broker.nats.requests import Lost

logger = logging.getLogger(__name__)

MARGIN_S = 600.0
"""How much longer the log is kept than histories and ids, so that an empty record can keep an order alive in time."""

_NS = 1_000_000_000
_RECORDS = 20_000
_DUPLICATE_WINDOW_S = 0.1  # ids of messages are not used; this is the least that the server allows
_ANSWER_S = 5.0
_ATTEMPTS = 20
_PAUSE_S = 0.5

_NOT_YET = {10008, 10005, 10074}  # JetStream has no leader yet, or not enough servers have joined
_OTHER_LIMITS = 10058
_NOT_FOUND = 10059
_TOO_FEW = {10005, 10074}

_MUST_BE = ("subjects", "republish", "allow_direct", "retention", "discard", "sealed", "mirror", "sources")
"""With another value of these the log does not work."""

_SHOULD_BE = ("max_age", "max_msgs_per_subject", "storage", "deny_delete", "max_msg_size")
"""With another value of these it works, but keeps more or less than the settings say."""


@dataclass(frozen=True, slots=True)
class Names:
    """The names of a cluster's stream and subjects.

    Attributes:
        cluster: letters, digits, ``-`` and ``_``.
    """

    cluster: str

    @property
    def stream(self) -> str:
        """The stream."""
        return f"BCAST_{self.cluster}"

    def log(self, room: str) -> str:
        """The subject of a room's records."""
        return f"bcast.{self.cluster}.log.{token(room)}"

    def live(self, room: str) -> str:
        """The subject on which the stream publishes a room's records again."""
        return f"bcast.{self.cluster}.live.{token(room)}"

    def forwards(self, incarnation: str, room: str = "") -> str:
        """The subject of messages that another server asks this one to take along; without a room, of all rooms."""
        return f"bcast.{self.cluster}.fwd.{incarnation}.{token(room) if room else '*'}"

    @property
    def heads(self) -> str:
        """The subject on which servers say how far their logs are."""
        return f"bcast.{self.cluster}.heads"


def token(room: str) -> str:
    """Return a room's name as one token of a subject."""
    return urlsafe_b64encode(room.encode()).rstrip(b"=").decode()


def kept_s(retention: Retention) -> float:
    """Return how long records are kept: as long as anything that is read from them."""
    return max(retention.age_s, retention.dedup_s) + MARGIN_S


def wanted(names: Names, retention: Retention, replicas: int, max_bytes: int) -> dict[str, Any]:
    """Return the stream's configuration.

    Args:
        names: of the cluster.
        retention: how much is kept of each room.
        replicas: how many NATS servers hold the stream.
        max_bytes: the largest record.
    """
    return {
        "name": names.stream,
        "subjects": [f"bcast.{names.cluster}.log.*"],
        "storage": "file",
        "num_replicas": replicas,
        "retention": "limits",
        "discard": "old",
        "allow_direct": True,
        "deny_delete": True,
        "republish": {
            "src": f"bcast.{names.cluster}.log.*",
            "dest": f"bcast.{names.cluster}.live.{{{{wildcard(1)}}}}",
        },
        "max_age": round(kept_s(retention) * _NS),
        "max_msgs_per_subject": max(_RECORDS, retention.messages),
        "max_msg_size": max_bytes,
        "duplicate_window": round(_DUPLICATE_WINDOW_S * _NS),
    }


async def prepare(connection: Connection, configuration: Mapping[str, Any], *, create: bool) -> None:
    """Make the stream if it is absent; else compare it.

    Args:
        connection: to NATS.
        configuration: as ``wanted`` returns it.
        create: whether the stream may be made here.

    Raises:
        CannotOpen: it cannot be made, or works otherwise than it must.
    """
    name = configuration["name"]
    for attempt in range(_ATTEMPTS):
        action = "CREATE" if create else "INFO"
        answer = await _ask(connection, f"$JS.API.STREAM.{action}.{name}", configuration if create else None)
        code = answer.get("error", {}).get("err_code")
        if code not in _NOT_YET or attempt == _ATTEMPTS - 1:
            break
        await asyncio.sleep(_PAUSE_S)
    if code == _OTHER_LIMITS:
        answer = await _ask(connection, f"$JS.API.STREAM.INFO.{name}", None)
    if error := answer.get("error"):
        raise CannotOpen(_explained(name, configuration["num_replicas"], error))
    _compare(name, configuration, answer["config"])


def _explained(name: str, replicas: int, error: Mapping[str, Any]) -> str:
    why = f"the stream {name} cannot be used: {error.get('description')}"
    match error.get("err_code"):
        case code if code == _NOT_FOUND:
            return f"{why}; make it, or set store-create to yes"
        case code if code in _TOO_FEW and replicas > 1:
            return f"{why}; store-replicas is {replicas}, which needs as many NATS servers in one cluster"
    return why


def _compare(name: str, wanted: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    differences = {
        key: (wanted.get(key), found.get(key)) for key in _MUST_BE if _differs(wanted.get(key), found.get(key))
    }
    if found.get("num_replicas", 1) < wanted["num_replicas"]:
        differences["num_replicas"] = (wanted["num_replicas"], found.get("num_replicas", 1))
    if differences:
        raise CannotOpen(f"the stream {name} has other settings than it must have: {_shown(differences)}")
    limits = {key: (wanted[key], found.get(key)) for key in _SHOULD_BE if _differs(wanted[key], found.get(key))}
    if limits:
        logger.warning("the stream %s has other limits than these settings ask for: %s", name, _shown(limits))


def _differs(wanted: object, found: object) -> bool:
    if isinstance(wanted, dict) and isinstance(found, dict):
        return any(found.get(key) != value for key, value in wanted.items()) or bool(found.get("headers_only"))
    return (found or None) != (wanted or None)


def _shown(differences: Mapping[str, tuple[object, object]]) -> str:
    return "; ".join(
        f"{key} is {json.dumps(found)}, not {json.dumps(wanted)}" for key, (wanted, found) in differences.items()
    )


async def _ask(connection: Connection, subject: str, body: Mapping[str, Any] | None) -> dict[str, Any]:
    try:
        message = await connection.request(subject, json.dumps(body).encode() if body else b"", _ANSWER_S)
    except Lost:
        raise CannotOpen(
            "the NATS server does not answer requests for a stream; may this account use JetStream?"
        ) from None
    if message.headers and message.headers.get("Status") == "503":
        raise CannotOpen("JetStream is not enabled on the NATS server, or not for this account: start it with -js")
    answer: dict[str, Any] = json.loads(message.data)
    return answer
