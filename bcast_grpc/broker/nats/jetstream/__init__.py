"""The stream in JetStream that holds the logs of all rooms.

::

    stream             how it is made, or compared with what it must be
    courier            carries the requests of the rooms' logs to it
    readings           reads what is no longer in memory
    health             whether it can be used
    watch, silence     whether it answers, and when to go to another NATS server
"""
