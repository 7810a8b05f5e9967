"""Where the order of a room is made and kept.

``base`` has the interfaces, ``memory`` the broker that keeps nothing on a disk, ``sqlite/`` the one that does, and
``nats/`` the one that many servers share. What brokers have in common: ``order`` gives messages their places,
``history`` keeps them, ``ids`` recognises retries, and ``backlog``, ``budget`` and ``relief`` bound what they take.
"""
