"""The client library: ``bcast_grpc.connect`` and ``bcast_grpc.connect_sync``."""

import os as _os

# gRPC's own fork handlers sometimes kill children with SIGSEGV while a connection is open. gRPC reads this variable
# when it is imported; set it before if you want the handlers all the same.
_os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
