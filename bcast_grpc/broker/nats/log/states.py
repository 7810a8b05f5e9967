"""The states of a room's log, all of them. Reading and writing each have one; writing waits until reading is level.

Reading::

    AWAY       no connection              connected → READING if nothing is known, else ENDING
    READING    records are asked for      all read → ENDING; the log is long, and nothing is known → STARTING
    STARTING   single records are asked   it is known where to begin → READING, from there
               for
    ENDING     the leader is asked for    it is the record that we know → LEVEL, or BEGINNING if no order goes on
               its last record            there are more → READING; it is another → READING, from the beginning;
                                          a record did not fit → PROVING
    PROVING    the leader is asked for    nothing has expired meanwhile → LEVEL or BEGINNING;
               its oldest record          something has → READING, from there
    LEVEL      the end is known           a hole → READING; a doubt → ENDING;
                                          a record that does not fit → READING, from the beginning
    BEGINNING  all is read, and a new     a record that begins an epoch → LEVEL; a doubt → ENDING
               epoch is to begin
    STOPPED    a record of a newer        nothing
               version was read

    disconnected → AWAY, from all but STOPPED

Writing::

    IDLE       nothing is under way       messages wait → FORWARDED if another server writes here, else APPENDING
    FORWARDED  another server was asked   all are in the log, or it took too long → IDLE
               to take messages along
    APPENDING  an append is under way     stored, or read in the log → IDLE; refused → REFUSED; no answer → UNKNOWN
    REFUSED    another record came first  it has been read → IDLE; it has not, after a while → UNKNOWN
    UNKNOWN    the append may be stored   level again, and something follows the expected record → IDLE;
               now, later or never        nothing does → APPENDING, the same record again
"""

from __future__ import annotations

from enum import Enum, auto


class Reading(Enum):
    """How far the log is known."""

    AWAY = auto()
    READING = auto()
    STARTING = auto()
    ENDING = auto()
    PROVING = auto()
    LEVEL = auto()
    BEGINNING = auto()
    STOPPED = auto()


class Writing(Enum):
    """What became of the last append."""

    IDLE = auto()
    FORWARDED = auto()
    APPENDING = auto()
    REFUSED = auto()
    UNKNOWN = auto()
