from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PeerMessage(_message.Message):
    __slots__ = ("version", "server", "beat", "heads", "notice", "ask", "lists", "used", "heads_asked", "heads_told")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SERVER_FIELD_NUMBER: _ClassVar[int]
    BEAT_FIELD_NUMBER: _ClassVar[int]
    HEADS_FIELD_NUMBER: _ClassVar[int]
    NOTICE_FIELD_NUMBER: _ClassVar[int]
    ASK_FIELD_NUMBER: _ClassVar[int]
    LISTS_FIELD_NUMBER: _ClassVar[int]
    USED_FIELD_NUMBER: _ClassVar[int]
    HEADS_ASKED_FIELD_NUMBER: _ClassVar[int]
    HEADS_TOLD_FIELD_NUMBER: _ClassVar[int]
    version: int
    server: str
    beat: Beat
    heads: Heads
    notice: Notice
    ask: Ask
    lists: Lists
    used: Used
    heads_asked: HeadsAsked
    heads_told: HeadsTold
    def __init__(self, version: _Optional[int] = ..., server: _Optional[str] = ..., beat: _Optional[_Union[Beat, _Mapping]] = ..., heads: _Optional[_Union[Heads, _Mapping]] = ..., notice: _Optional[_Union[Notice, _Mapping]] = ..., ask: _Optional[_Union[Ask, _Mapping]] = ..., lists: _Optional[_Union[Lists, _Mapping]] = ..., used: _Optional[_Union[Used, _Mapping]] = ..., heads_asked: _Optional[_Union[HeadsAsked, _Mapping]] = ..., heads_told: _Optional[_Union[HeadsTold, _Mapping]] = ...) -> None: ...

class Beat(_message.Message):
    __slots__ = ("release", "host", "port", "pid", "since_ns", "leaving", "calls")
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    SINCE_NS_FIELD_NUMBER: _ClassVar[int]
    LEAVING_FIELD_NUMBER: _ClassVar[int]
    CALLS_FIELD_NUMBER: _ClassVar[int]
    release: str
    host: str
    port: int
    pid: int
    since_ns: int
    leaving: bool
    calls: bool
    def __init__(self, release: _Optional[str] = ..., host: _Optional[str] = ..., port: _Optional[int] = ..., pid: _Optional[int] = ..., since_ns: _Optional[int] = ..., leaving: bool = ..., calls: bool = ...) -> None: ...

class Heads(_message.Message):
    __slots__ = ("heads",)
    HEADS_FIELD_NUMBER: _ClassVar[int]
    heads: _containers.RepeatedCompositeFieldContainer[Head]
    def __init__(self, heads: _Optional[_Iterable[_Union[Head, _Mapping]]] = ...) -> None: ...

class Head(_message.Message):
    __slots__ = ("room", "sequence", "record")
    ROOM_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    RECORD_FIELD_NUMBER: _ClassVar[int]
    room: str
    sequence: int
    record: str
    def __init__(self, room: _Optional[str] = ..., sequence: _Optional[int] = ..., record: _Optional[str] = ...) -> None: ...

class HeadsAsked(_message.Message):
    __slots__ = ("number", "rooms")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    ROOMS_FIELD_NUMBER: _ClassVar[int]
    number: int
    rooms: _containers.RepeatedCompositeFieldContainer[Told]
    def __init__(self, number: _Optional[int] = ..., rooms: _Optional[_Iterable[_Union[Told, _Mapping]]] = ...) -> None: ...

class HeadsTold(_message.Message):
    __slots__ = ("number", "rooms")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    ROOMS_FIELD_NUMBER: _ClassVar[int]
    number: int
    rooms: _containers.RepeatedCompositeFieldContainer[Told]
    def __init__(self, number: _Optional[int] = ..., rooms: _Optional[_Iterable[_Union[Told, _Mapping]]] = ...) -> None: ...

class Told(_message.Message):
    __slots__ = ("room", "epoch", "seq")
    ROOM_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    room: str
    epoch: str
    seq: int
    def __init__(self, room: _Optional[str] = ..., epoch: _Optional[str] = ..., seq: _Optional[int] = ...) -> None: ...

class Notice(_message.Message):
    __slots__ = ("number", "clock", "changes")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    CLOCK_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    number: int
    clock: int
    changes: _containers.RepeatedCompositeFieldContainer[Change]
    def __init__(self, number: _Optional[int] = ..., clock: _Optional[int] = ..., changes: _Optional[_Iterable[_Union[Change, _Mapping]]] = ...) -> None: ...

class Change(_message.Message):
    __slots__ = ("room", "came", "left")
    ROOM_FIELD_NUMBER: _ClassVar[int]
    CAME_FIELD_NUMBER: _ClassVar[int]
    LEFT_FIELD_NUMBER: _ClassVar[int]
    room: str
    came: Present
    left: Departed
    def __init__(self, room: _Optional[str] = ..., came: _Optional[_Union[Present, _Mapping]] = ..., left: _Optional[_Union[Departed, _Mapping]] = ...) -> None: ...

class Present(_message.Message):
    __slots__ = ("session", "name", "key", "reader", "since_ns", "asked")
    SESSION_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    READER_FIELD_NUMBER: _ClassVar[int]
    SINCE_NS_FIELD_NUMBER: _ClassVar[int]
    ASKED_FIELD_NUMBER: _ClassVar[int]
    session: str
    name: str
    key: str
    reader: bool
    since_ns: int
    asked: int
    def __init__(self, session: _Optional[str] = ..., name: _Optional[str] = ..., key: _Optional[str] = ..., reader: bool = ..., since_ns: _Optional[int] = ..., asked: _Optional[int] = ...) -> None: ...

class Departed(_message.Message):
    __slots__ = ("session", "epoch", "seq", "replaced")
    SESSION_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    REPLACED_FIELD_NUMBER: _ClassVar[int]
    session: str
    epoch: str
    seq: int
    replaced: bool
    def __init__(self, session: _Optional[str] = ..., epoch: _Optional[str] = ..., seq: _Optional[int] = ..., replaced: bool = ...) -> None: ...

class Ask(_message.Message):
    __slots__ = ("rooms",)
    ROOMS_FIELD_NUMBER: _ClassVar[int]
    rooms: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, rooms: _Optional[_Iterable[str]] = ...) -> None: ...

class Lists(_message.Message):
    __slots__ = ("lists",)
    LISTS_FIELD_NUMBER: _ClassVar[int]
    lists: _containers.RepeatedCompositeFieldContainer[List]
    def __init__(self, lists: _Optional[_Iterable[_Union[List, _Mapping]]] = ...) -> None: ...

class List(_message.Message):
    __slots__ = ("room", "number", "clock", "part", "more", "epoch", "seq", "presents")
    ROOM_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    CLOCK_FIELD_NUMBER: _ClassVar[int]
    PART_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    PRESENTS_FIELD_NUMBER: _ClassVar[int]
    room: str
    number: int
    clock: int
    part: int
    more: bool
    epoch: str
    seq: int
    presents: _containers.RepeatedCompositeFieldContainer[Present]
    def __init__(self, room: _Optional[str] = ..., number: _Optional[int] = ..., clock: _Optional[int] = ..., part: _Optional[int] = ..., more: bool = ..., epoch: _Optional[str] = ..., seq: _Optional[int] = ..., presents: _Optional[_Iterable[_Union[Present, _Mapping]]] = ...) -> None: ...

class Used(_message.Message):
    __slots__ = ("usages",)
    USAGES_FIELD_NUMBER: _ClassVar[int]
    usages: _containers.RepeatedCompositeFieldContainer[Usage]
    def __init__(self, usages: _Optional[_Iterable[_Union[Usage, _Mapping]]] = ...) -> None: ...

class Usage(_message.Message):
    __slots__ = ("key", "messages")
    KEY_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    key: str
    messages: int
    def __init__(self, key: _Optional[str] = ..., messages: _Optional[int] = ...) -> None: ...
