"""The log of one room, without I/O: its records, how a server reads them, and how it appends its own.

Begin with ``room_log`` and ``actions``, which have its inputs and outputs::

    record, incarnation, limits   what is in the log, and the bounds
    states                        the states, of reading and of writing
    reader, request               reads the live feed and what it missed: asks for one thing at a time
    start, ahead                  where it begins, and what has come too early
    taking, chain, past, known    what was read: which records count, which are news, which ids are in the log
    claims, rumour                what other servers say of the log
    writer, pending, batch        appends what waits
    telling                       what is told upwards
    seeks                         who waits for a place in the log
    places                        where the log has what is no longer in memory
"""
