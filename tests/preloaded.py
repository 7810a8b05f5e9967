"""What the processes of ``tests.forked`` have imported when they begin."""

import os

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # as the server does before it imports gRPC

import bcast_grpc.bench.run
import bcast_grpc.server.server
import bcast_grpc.terminal.conversation
import bcast_grpc.terminal.pipeline
import bcast_grpc.token.arguments
import bcast_grpc.transport.http_door  # noqa: F401
import tests.broker.desk  # noqa: F401
from tests import freezes

freezes.prepare_forks()
