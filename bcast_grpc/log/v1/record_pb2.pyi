from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Item(_message.Message):
    __slots__ = ("uid", "session", "name", "key", "message", "data", "id")
    UID_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    uid: str
    session: str
    name: str
    key: str
    message: str
    data: bytes
    id: str
    def __init__(self, uid: _Optional[str] = ..., session: _Optional[str] = ..., name: _Optional[str] = ..., key: _Optional[str] = ..., message: _Optional[str] = ..., data: _Optional[bytes] = ..., id: _Optional[str] = ...) -> None: ...

class Record(_message.Message):
    __slots__ = ("version", "epoch", "first", "id", "previous", "time_ns", "writer", "items")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_FIELD_NUMBER: _ClassVar[int]
    TIME_NS_FIELD_NUMBER: _ClassVar[int]
    WRITER_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    version: int
    epoch: str
    first: int
    id: str
    previous: str
    time_ns: int
    writer: str
    items: _containers.RepeatedCompositeFieldContainer[Item]
    def __init__(self, version: _Optional[int] = ..., epoch: _Optional[str] = ..., first: _Optional[int] = ..., id: _Optional[str] = ..., previous: _Optional[str] = ..., time_ns: _Optional[int] = ..., writer: _Optional[str] = ..., items: _Optional[_Iterable[_Union[Item, _Mapping]]] = ...) -> None: ...

class Forward(_message.Message):
    __slots__ = ("version", "sequence", "record", "items")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    RECORD_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    version: int
    sequence: int
    record: str
    items: _containers.RepeatedCompositeFieldContainer[Item]
    def __init__(self, version: _Optional[int] = ..., sequence: _Optional[int] = ..., record: _Optional[str] = ..., items: _Optional[_Iterable[_Union[Item, _Mapping]]] = ...) -> None: ...
