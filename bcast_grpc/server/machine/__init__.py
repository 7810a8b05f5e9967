"""What the machine and the system leave to this process: memory and file descriptors.

::

    limits         how much memory it may use
    memory         how much it takes
    descriptors    how many files and connections it may open
"""
