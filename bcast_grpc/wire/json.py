"""The proto3 JSON mapping of the contract's messages, with the field names of the ``.proto``."""

from __future__ import annotations

from google.protobuf.json_format import MessageToJson

from bcast_grpc.events import Event
from bcast_grpc.wire.protobuf import to_message


def encode_event(event: Event) -> str:
    """Encode an event as one line of JSON; unset fields are left out."""
    return MessageToJson(to_message(event), preserving_proto_field_name=True, indent=None, ensure_ascii=False)
