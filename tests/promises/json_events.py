"""The contract's JSON as a client of the tests reads and writes it."""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import Any, TypeAlias

from .client import data_of, id_of, text_of
from .records import Acked, Came, Place, Present, Refused, Saw, Step, Told, Welcomed, Went

Object: TypeAlias = dict[str, Any]

RETRYABLE = frozenset(
    {"RATE_LIMITED", "SERVER_FULL", "SLOW_CONSUMER", "SHUTTING_DOWN", "BROKER_UNAVAILABLE", "TOKEN_EXPIRED"}
)
"""The codes of the contract after which a client may come back, with a new token where the last one has expired."""


def request_of(text: str) -> Object:
    """Return what sends a text."""
    return {"msg": text, "data": b64encode(data_of(text)).decode(), "id": id_of(text)}


def read(event: Object, key: str) -> Step | None:
    """Return what an event tells the client ``key``; None if it is for no record."""
    match event["kind"].removeprefix("EVENT_KIND_"):
        case "WELCOME":
            welcome = event["welcome"]
            return Welcomed(Place(welcome["epoch"], int(event.get("seq", 0))), welcome.get("resumed", False))
        case "MESSAGE":
            data = b64decode(event.get("data", ""))
            return Saw(int(event["seq"]), text_of(event["message"], event.get("sender", ""), data))
        case "ACK":
            ack = event["ack"]
            place = Place(ack["epoch"], int(ack.get("seq", 0)))
            return Acked(f"{key}/{event['id']}", place, ack.get("duplicate", False))
        case "ERROR" if "id" in event:
            return Refused(f"{key}/{event['id']}", event["error"]["code"])
        case "GAP":
            gap = event["gap"]
            reason = gap["reason"].removeprefix("GAP_REASON_")
            return Told(int(gap.get("first_missed", 0)), int(gap.get("last_missed", 0)), reason)
        case "JOINED":
            return Came(event["sender"])
        case "LEFT":
            return Went(event["sender"])
        case "MEMBERS":
            return Present(frozenset(member["name"] for member in event["members"]["members"] if "name" in member))
    return None


def why(event: Object) -> str:
    """Return the code that a stream is about to end with; nothing if the event does not tell."""
    if event["kind"] == "EVENT_KIND_ERROR" and "id" not in event:
        return str(event["error"]["code"]).removeprefix("ERROR_CODE_")
    return ""
