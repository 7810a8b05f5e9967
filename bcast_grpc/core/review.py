"""What changes for a client in a room when it may do more or less than before."""

from __future__ import annotations

from bcast_grpc.core.identity import Identity
from bcast_grpc.core.member import Member
from bcast_grpc.core.permission import granted, lost_entry
from bcast_grpc.core.room import Room
from bcast_grpc.core.states import Move


def review(room: Room) -> None:
    """Look again what everyone in a room may do. Who may not be there any more is disconnected at once."""
    for member in list(room.members.values()):
        regrant(room, member, member.identity)


def regrant(room: Room, member: Member, identity: Identity) -> None:
    """Have a client be who it has shown to be now, with what that may do."""
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
