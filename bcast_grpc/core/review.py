"""Applies changed rights to the clients that are in a room."""

from __future__ import annotations

from bcast_grpc.core.identity import Identity
from bcast_grpc.core.member import Member
from bcast_grpc.core.permission import granted, lost_entry
from bcast_grpc.core.room import Room
from bcast_grpc.core.states import Move


def review(room: Room) -> None:
    """Apply the current rights to everyone in a room, and disconnect at once those who may no longer be there."""
    for member in list(room.members.values()):
        regrant(room, member, member.identity)


def regrant(room: Room, member: Member, identity: Identity) -> None:
    """Give a client a new identity, with its rights."""
    member.identity = identity
    rights = identity.grants(room.name)
    if rights == member.rights:
        return
    member.rights = rights
    room.roster.regroup(member, granted(member.wants, rights))
    if not rights.join:
        member.outbox.close(lost_entry(), discard=True)
        member.move(Move.END)
    elif not rights.history:
        room.feed.cut(member)
