"""Where the order of a room is made and kept.

``base`` has the interfaces, ``memory`` the broker that keeps nothing on a disk, ``sqlite/`` the one that does. What
brokers have in common: ``order`` gives messages their places, ``history`` keeps them, ``ids`` recognises retries, and
``budget`` and ``relief`` bound the memory.
"""
