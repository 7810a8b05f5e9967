"""One server in several processes on the same ports.

::

    supervisor, child    starts the others, and what it knows of each
    worker               one of those, which serves clients
"""
