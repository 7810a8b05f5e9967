"""What servers that share rooms tell each other of their clients: who is in each room, and what limits are used up.

shared.py      the ``Presence`` that a hub uses: the parts below, on the talk between servers
own.py         this server's clients: notices when they change, lists when others ask
others.py      the other servers' clients: from notices and lists, and what to do when some get lost
departures.py  those of them who have left, until all is there that comes before
view.py        what one other server has said of one room
rooms.py       the rooms that are open here, and whom to tell of changes
roll.py        who is in one room: of several clients with one key, the later
stamps.py      numbers by which servers agree on what is later
limits.py      what clients have sent, over all servers
messages.py    how clients are written in messages

Only ``shared.py`` knows of a network and a loop; time is given to the others.
"""
