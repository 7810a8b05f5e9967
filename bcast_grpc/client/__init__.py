"""The client library: ``bcast_grpc.connect`` and ``bcast_grpc.connect_sync``."""

import os as _os

# gRPC's own fork handlers kill children with SIGSEGV now and then, where a connection is open. It reads this when it
# begins; who wants the handlers all the same has set it before.
_os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
