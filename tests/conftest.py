"""What holds for all tests."""

import os

from hypothesis import settings

# Tests start processes. gRPC's fork handlers run in between fork and exec, and crash there now and then.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

# How long an example takes says how busy the machine is, and nothing of the code.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
