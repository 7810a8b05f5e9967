"""What the servers of a cluster say to each other beside the log, over core NATS.

::

    talk, peers            says and hears it; who is there
    heads                  how far the logs are
    asking, opened         what has been told of rooms, and the logs of those that are open here
"""
