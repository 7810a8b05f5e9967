"""The JetStream stream that holds the logs of all rooms of a cluster: how it is made, or compared."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from time import monotonic
from typing import Any

from bcast_grpc.broker.base import CannotOpen
from bcast_grpc.broker.budget import UNBOUNDED
from bcast_grpc.broker.history import Retention
from bcast_grpc.broker.nats.connection.connection import Connection
from bcast_grpc.broker.nats.connection.requests import Lost
from bcast_grpc.broker.nats.names import Names

logger = logging.getLogger(__name__)

MARGIN_S = 600.0
"""How much longer the log is kept than histories and ids, so that an empty record can keep an order alive in time."""

_NS = 1_000_000_000
_RECORDS = 20_000
_DUPLICATE_WINDOW_S = 0.1  # ids of messages are not used; this is the least that the server allows
_ANSWER_S = 5.0
_PATIENCE_S = 15.0  # a leader is found within 4 to 11 s
_MOST_SILENT = 2
_PAUSE_S = 0.5

NO_LEADER = 10008
"""The error that most of the NATS servers are away."""

_NOT_YET = {NO_LEADER, 10005, 10074}  # JetStream has no leader yet, or not enough servers have joined
_OTHER_LIMITS = 10058
NOT_FOUND = 10059
"""The error that there is no such stream."""

_TOO_FEW = {10005, 10074}
_ADVICE = {
    NOT_FOUND: "make it, or set store-create to yes",
    10039: "give the account jetstream: enabled in the configuration of NATS",
    10027: "raise max_streams of the account",
    10113: "make the stream with max_bytes, and set store-create to no",
}

_MUST_BE = ("subjects", "republish", "allow_direct", "retention", "discard", "sealed", "mirror", "sources")
"""With another value of these the log does not work."""

_SHOULD_BE = ("max_age", "max_msgs_per_subject", "storage", "deny_delete", "max_msg_size")
"""With another value of these it works, but keeps more or less than the settings say."""

_MAY_CHANGE = ("max_age", "max_msgs_per_subject", "max_msg_size")
"""These of them can be changed later."""


class Unanswered(CannotOpen):
    """Nobody answers for the stream."""


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
        "subjects": [names.log_of_all],
        "storage": "file",
        "num_replicas": replicas,
        "retention": "limits",
        "discard": "old",
        "allow_direct": True,
        "deny_delete": True,
        "republish": {
            "src": names.log_of_all,
            "dest": f"bcast.{names.cluster}.live.{{{{wildcard(1)}}}}",
        },
        "max_age": round(kept_s(retention) * _NS),
        "max_msgs_per_subject": max(_RECORDS, retention.messages),
        "max_msg_size": max_bytes,
        "duplicate_window": round(_DUPLICATE_WINDOW_S * _NS),
    }


async def prepare(
    connection: Connection, configuration: Mapping[str, Any], *, create: bool, update: bool = False
) -> dict[str, Any]:
    """Make the stream if it is absent; else compare it. Return its configuration.

    Args:
        connection: to NATS.
        configuration: as ``wanted`` returns it.
        create: whether the stream may be made here.
        update: whether its limits may be changed here.

    Raises:
        CannotOpen: it cannot be made, or works otherwise than it must.
    """
    name, replicas = configuration["name"], configuration["num_replicas"]
    answer = await _decided(connection, name, replicas, configuration if create else None)
    if _code(answer) == _OTHER_LIMITS:
        answer = await _decided(connection, name, replicas, None)
    if error := answer.get("error"):
        raise CannotOpen(_explained(name, replicas, error))
    found: dict[str, Any] = answer["config"]
    limits = {key: configuration[key] for key in _MAY_CHANGE if _differs(configuration[key], found.get(key))}
    if update and limits:
        answer = await ask(connection, f"$JS.API.STREAM.UPDATE.{name}", {**found, **limits})
        if error := answer.get("error"):
            raise CannotOpen(_explained(name, replicas, error))
        found = answer["config"]
    _compare(name, configuration, found)
    return found


async def _decided(
    connection: Connection, name: str, replicas: int, configuration: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Have the stream made, or described, and return the answer once NATS decides.

    NATS servers that have just started, or lost their leader, need some time. Another one is tried each time, because
    one may be parted from the others.
    """
    subject = f"$JS.API.STREAM.{'CREATE' if configuration else 'INFO'}.{name}"
    until_s = monotonic() + _PATIENCE_S
    clustered, silent, said = False, 0, ""
    while True:
        clustered = clustered or connection.is_clustered
        try:
            answer = await ask(connection, subject, configuration)
        except Unanswered as error:
            connection.denials.check()
            silent += connection.up
            why = (no_leader(name) if clustered else _account(name)) if connection.up else said or str(error)
        else:
            if _code(answer) not in _NOT_YET or not clustered:
                return answer
            why = no_leader(name) if _code(answer) == NO_LEADER else _explained(name, replicas, answer["error"])
        if monotonic() > until_s or (silent == _MOST_SILENT and not clustered):
            raise CannotOpen(why)
        if why != said:
            said = why
            logger.warning("%s (trying again for %.0f s)", why, max(0, until_s - monotonic()))
        if clustered:
            await connection.move_on()
        await asyncio.sleep(_PAUSE_S)


def _code(answer: Mapping[str, Any]) -> int:
    code: int = answer.get("error", {}).get("err_code", 0)
    return code


def no_leader(name: str) -> str:
    """Say that NATS is there, but decides nothing about a stream."""
    return f"the stream {name} has no leader: are most of the NATS servers that keep it there?"


def _account(name: str) -> str:
    return f"the NATS server answers nothing about the stream {name}: may this account use JetStream?"


def largest_record(configuration: Mapping[str, Any], needed: int) -> int:
    """Return the largest record that a stream takes.

    Raises:
        CannotOpen: that is less than what is needed.
    """
    most: int = configuration.get("max_msg_size", -1)
    if 0 <= most < needed:
        raise CannotOpen(
            f"the stream {configuration['name']} takes records of {most} bytes (max_msg_size), and must take {needed}:"
            " raise it, or lower max-message-bytes"
        )
    return most if most >= 0 else UNBOUNDED


def _explained(name: str, replicas: int, error: Mapping[str, Any]) -> str:
    why = f"the stream {name} cannot be used: {error.get('description')}"
    code = error.get("err_code", 0)
    if code in _TOO_FEW and replicas > 1:
        return f"{why}; store-replicas is {replicas}, which needs as many NATS servers in one cluster"
    return f"{why}; {_ADVICE[code]}" if code in _ADVICE else why


def unfit(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    """Return the settings of a stream with which the log does not work; empty if there are none."""
    differences = {
        key: (wanted.get(key), found.get(key)) for key in _MUST_BE if _differs(wanted.get(key), found.get(key))
    }
    if found.get("num_replicas", 1) < wanted["num_replicas"]:
        differences["num_replicas"] = (wanted["num_replicas"], found.get("num_replicas", 1))
    return _shown(differences)


def _compare(name: str, wanted: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    if differences := unfit(wanted, found):
        raise CannotOpen(f"the stream {name} has other settings than it must have: {differences}")
    limits = {key: (wanted[key], found.get(key)) for key in _SHOULD_BE if _differs(wanted[key], found.get(key))}
    if limits:
        advice = "; with store-create update they follow" if not limits.keys() - set(_MAY_CHANGE) else ""
        logger.warning("the stream %s has other limits than these settings ask for: %s%s", name, _shown(limits), advice)


def _differs(wanted: object, found: object) -> bool:
    if isinstance(wanted, dict) and isinstance(found, dict):
        return any(found.get(key) != value for key, value in wanted.items()) or bool(found.get("headers_only"))
    return (found or None) != (wanted or None)


def _shown(differences: Mapping[str, tuple[object, object]]) -> str:
    return "; ".join(
        f"{key} is {json.dumps(found)}, not {json.dumps(wanted)}" for key, (wanted, found) in differences.items()
    )


async def ask(connection: Connection, subject: str, body: Mapping[str, Any] | None) -> dict[str, Any]:
    """Ask JetStream, and return the answer, which may be an error.

    Raises:
        Unanswered: there is no answer.
        CannotOpen: there is no JetStream.
    """
    try:
        message = await connection.request(subject, json.dumps(body).encode() if body else b"", _ANSWER_S)
    except Lost:
        raise Unanswered("the NATS server does not answer, or the connection to it was lost.") from None
    if message.headers and message.headers.get("Status") == "503":
        raise CannotOpen("JetStream is not enabled on the NATS server, or not for this account: start it with -js")
    answer: dict[str, Any] = json.loads(message.data)
    return answer
