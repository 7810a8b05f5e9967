import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class EventKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EVENT_KIND_UNSPECIFIED: _ClassVar[EventKind]
    EVENT_KIND_MESSAGE: _ClassVar[EventKind]
    EVENT_KIND_WELCOME: _ClassVar[EventKind]
    EVENT_KIND_JOINED: _ClassVar[EventKind]
    EVENT_KIND_LEFT: _ClassVar[EventKind]
    EVENT_KIND_ACK: _ClassVar[EventKind]
    EVENT_KIND_ERROR: _ClassVar[EventKind]
    EVENT_KIND_GAP: _ClassVar[EventKind]
    EVENT_KIND_MEMBERS: _ClassVar[EventKind]
    EVENT_KIND_PROGRESS: _ClassVar[EventKind]
    EVENT_KIND_CLOSING: _ClassVar[EventKind]
    EVENT_KIND_EXPIRING: _ClassVar[EventKind]

class ErrorCode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ERROR_CODE_UNSPECIFIED: _ClassVar[ErrorCode]
    ERROR_CODE_EMPTY_MESSAGE: _ClassVar[ErrorCode]
    ERROR_CODE_MESSAGE_TOO_LARGE: _ClassVar[ErrorCode]
    ERROR_CODE_UNKNOWN_OPERATION: _ClassVar[ErrorCode]
    ERROR_CODE_RATE_LIMITED: _ClassVar[ErrorCode]
    ERROR_CODE_NAME_INVALID: _ClassVar[ErrorCode]
    ERROR_CODE_METADATA_INVALID: _ClassVar[ErrorCode]
    ERROR_CODE_UNAUTHENTICATED: _ClassVar[ErrorCode]
    ERROR_CODE_PERMISSION_DENIED: _ClassVar[ErrorCode]
    ERROR_CODE_TOKEN_EXPIRED: _ClassVar[ErrorCode]
    ERROR_CODE_SERVER_FULL: _ClassVar[ErrorCode]
    ERROR_CODE_SLOW_CONSUMER: _ClassVar[ErrorCode]
    ERROR_CODE_REPLACED: _ClassVar[ErrorCode]
    ERROR_CODE_SHUTTING_DOWN: _ClassVar[ErrorCode]
    ERROR_CODE_BROKER_UNAVAILABLE: _ClassVar[ErrorCode]
    ERROR_CODE_INTERNAL: _ClassVar[ErrorCode]
    ERROR_CODE_MALFORMED: _ClassVar[ErrorCode]

class GapReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    GAP_REASON_UNSPECIFIED: _ClassVar[GapReason]
    GAP_REASON_TRIMMED: _ClassVar[GapReason]
    GAP_REASON_SLOW: _ClassVar[GapReason]
    GAP_REASON_NEW_EPOCH: _ClassVar[GapReason]
    GAP_REASON_NOT_ALLOWED: _ClassVar[GapReason]
EVENT_KIND_UNSPECIFIED: EventKind
EVENT_KIND_MESSAGE: EventKind
EVENT_KIND_WELCOME: EventKind
EVENT_KIND_JOINED: EventKind
EVENT_KIND_LEFT: EventKind
EVENT_KIND_ACK: EventKind
EVENT_KIND_ERROR: EventKind
EVENT_KIND_GAP: EventKind
EVENT_KIND_MEMBERS: EventKind
EVENT_KIND_PROGRESS: EventKind
EVENT_KIND_CLOSING: EventKind
EVENT_KIND_EXPIRING: EventKind
ERROR_CODE_UNSPECIFIED: ErrorCode
ERROR_CODE_EMPTY_MESSAGE: ErrorCode
ERROR_CODE_MESSAGE_TOO_LARGE: ErrorCode
ERROR_CODE_UNKNOWN_OPERATION: ErrorCode
ERROR_CODE_RATE_LIMITED: ErrorCode
ERROR_CODE_NAME_INVALID: ErrorCode
ERROR_CODE_METADATA_INVALID: ErrorCode
ERROR_CODE_UNAUTHENTICATED: ErrorCode
ERROR_CODE_PERMISSION_DENIED: ErrorCode
ERROR_CODE_TOKEN_EXPIRED: ErrorCode
ERROR_CODE_SERVER_FULL: ErrorCode
ERROR_CODE_SLOW_CONSUMER: ErrorCode
ERROR_CODE_REPLACED: ErrorCode
ERROR_CODE_SHUTTING_DOWN: ErrorCode
ERROR_CODE_BROKER_UNAVAILABLE: ErrorCode
ERROR_CODE_INTERNAL: ErrorCode
ERROR_CODE_MALFORMED: ErrorCode
GAP_REASON_UNSPECIFIED: GapReason
GAP_REASON_TRIMMED: GapReason
GAP_REASON_SLOW: GapReason
GAP_REASON_NEW_EPOCH: GapReason
GAP_REASON_NOT_ALLOWED: GapReason

class ConnectRequest(_message.Message):
    __slots__ = ("operacion", "msg", "data", "id", "batch")
    OPERACION_FIELD_NUMBER: _ClassVar[int]
    MSG_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    operacion: str
    msg: str
    data: bytes
    id: str
    batch: _containers.RepeatedCompositeFieldContainer[ConnectRequest]
    def __init__(self, operacion: _Optional[str] = ..., msg: _Optional[str] = ..., data: _Optional[bytes] = ..., id: _Optional[str] = ..., batch: _Optional[_Iterable[_Union[ConnectRequest, _Mapping]]] = ...) -> None: ...

class ConnectResponse(_message.Message):
    __slots__ = ("message", "kind", "sender", "session", "seq", "time", "data", "id", "welcome", "ack", "error", "gap", "members", "closing", "batch")
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    SENDER_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    ACK_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    GAP_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    CLOSING_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    message: str
    kind: EventKind
    sender: str
    session: str
    seq: int
    time: _timestamp_pb2.Timestamp
    data: bytes
    id: str
    welcome: Welcome
    ack: Ack
    error: Error
    gap: Gap
    members: Members
    closing: Closing
    batch: _containers.RepeatedCompositeFieldContainer[ConnectResponse]
    def __init__(self, message: _Optional[str] = ..., kind: _Optional[_Union[EventKind, str]] = ..., sender: _Optional[str] = ..., session: _Optional[str] = ..., seq: _Optional[int] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., data: _Optional[bytes] = ..., id: _Optional[str] = ..., welcome: _Optional[_Union[Welcome, _Mapping]] = ..., ack: _Optional[_Union[Ack, _Mapping]] = ..., error: _Optional[_Union[Error, _Mapping]] = ..., gap: _Optional[_Union[Gap, _Mapping]] = ..., members: _Optional[_Union[Members, _Mapping]] = ..., closing: _Optional[_Union[Closing, _Mapping]] = ..., batch: _Optional[_Iterable[_Union[ConnectResponse, _Mapping]]] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("session", "room", "epoch", "resumed", "members")
    SESSION_FIELD_NUMBER: _ClassVar[int]
    ROOM_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    RESUMED_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    session: str
    room: str
    epoch: str
    resumed: bool
    members: int
    def __init__(self, session: _Optional[str] = ..., room: _Optional[str] = ..., epoch: _Optional[str] = ..., resumed: bool = ..., members: _Optional[int] = ...) -> None: ...

class Ack(_message.Message):
    __slots__ = ("seq", "epoch", "duplicate", "queued", "refused")
    SEQ_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    DUPLICATE_FIELD_NUMBER: _ClassVar[int]
    QUEUED_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    seq: int
    epoch: str
    duplicate: bool
    queued: int
    refused: int
    def __init__(self, seq: _Optional[int] = ..., epoch: _Optional[str] = ..., duplicate: bool = ..., queued: _Optional[int] = ..., refused: _Optional[int] = ...) -> None: ...

class Error(_message.Message):
    __slots__ = ("code", "reason", "retryable", "retry_after")
    CODE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    RETRYABLE_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_FIELD_NUMBER: _ClassVar[int]
    code: ErrorCode
    reason: str
    retryable: bool
    retry_after: _duration_pb2.Duration
    def __init__(self, code: _Optional[_Union[ErrorCode, str]] = ..., reason: _Optional[str] = ..., retryable: bool = ..., retry_after: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class Gap(_message.Message):
    __slots__ = ("first_missed", "last_missed", "reason")
    FIRST_MISSED_FIELD_NUMBER: _ClassVar[int]
    LAST_MISSED_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    first_missed: int
    last_missed: int
    reason: GapReason
    def __init__(self, first_missed: _Optional[int] = ..., last_missed: _Optional[int] = ..., reason: _Optional[_Union[GapReason, str]] = ...) -> None: ...

class Members(_message.Message):
    __slots__ = ("members", "more")
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    members: _containers.RepeatedCompositeFieldContainer[Member]
    more: bool
    def __init__(self, members: _Optional[_Iterable[_Union[Member, _Mapping]]] = ..., more: bool = ...) -> None: ...

class Member(_message.Message):
    __slots__ = ("session", "name", "since")
    SESSION_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    session: str
    name: str
    since: _timestamp_pb2.Timestamp
    def __init__(self, session: _Optional[str] = ..., name: _Optional[str] = ..., since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Closing(_message.Message):
    __slots__ = ("reason", "reconnect_after")
    REASON_FIELD_NUMBER: _ClassVar[int]
    RECONNECT_AFTER_FIELD_NUMBER: _ClassVar[int]
    reason: str
    reconnect_after: _duration_pb2.Duration
    def __init__(self, reason: _Optional[str] = ..., reconnect_after: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class PublishRequest(_message.Message):
    __slots__ = ("msg", "data", "id")
    MSG_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    msg: str
    data: bytes
    id: str
    def __init__(self, msg: _Optional[str] = ..., data: _Optional[bytes] = ..., id: _Optional[str] = ...) -> None: ...

class PublishResponse(_message.Message):
    __slots__ = ("ack",)
    ACK_FIELD_NUMBER: _ClassVar[int]
    ack: Ack
    def __init__(self, ack: _Optional[_Union[Ack, _Mapping]] = ...) -> None: ...

class SubscribeRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
