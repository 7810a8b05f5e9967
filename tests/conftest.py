"""What holds for all tests."""

import os

# Tests start processes. gRPC's fork handlers run in between fork and exec, and crash there now and then.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
