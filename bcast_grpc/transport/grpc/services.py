"""The methods other than streams of clients: ``Publish``, and grpcio's own servicers for health and reflection."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import grpc
from google.rpc import code_pb2
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from bcast_grpc.core.peers import PeerCounts, network_of
from bcast_grpc.core.publisher import Publisher
from bcast_grpc.transport.entering import admit
from bcast_grpc.transport.grpc.call import Call, Carrier
from bcast_grpc.transport.grpc.headers import Head
from bcast_grpc.transport.grpc.messages import StatusError
from bcast_grpc.transport.grpc.resources import Resources
from bcast_grpc.transport.grpc.service_call import Context, Method, ServiceCall
from bcast_grpc.transport.health import Health
from bcast_grpc.transport.publishing import Publishing
from bcast_grpc.transport.rpc import SERVICE, initial_metadata, read_caller, read_metadata, read_peer
from bcast_grpc.wire import protobuf

REFLECTION_V1 = "grpc.reflection.v1.ServerReflection"
"""The stable name of the reflection service; its messages equal those of v1alpha."""

MAX_STREAMS = 10_000
"""How many calls of health and reflection there may be on all connections; then each address has its part. Each has a
task, some forever."""


class Services:
    """The methods that a door serves in tasks.

    Args:
        resources: what all calls of the door share.

    Attributes:
        health: what health checks are answered.
    """

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._hub = resources.shared.hub
        self._proxies = resources.shared.connections.proxies
        self._scheduler = resources.shared.scheduler
        self._publishing = Publishing(self._scheduler)
        self._methods: dict[str, Method] = {}
        self._streams = PeerCounts(0, spares_loopback=False)
        servicer = health.aio.HealthServicer()
        self.health = Health(resources.shared, servicer)
        registry: Any = self
        health_pb2_grpc.add_HealthServicer_to_server(servicer, registry)
        names = (SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME, REFLECTION_V1)
        reflecting = reflection.aio.ReflectionServicer(names)
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(reflecting, registry)  # type: ignore[no-untyped-call]
        for path, method in list(self._methods.items()):
            self._methods[path.replace(reflection.SERVICE_NAME, REFLECTION_V1)] = method
        publish: Method = grpc.unary_unary_rpc_method_handler(self._publish)
        self.add_registered_method_handlers(SERVICE, {"Publish": publish})

    def call(self, carrier: Carrier, stream_id: int, head: Head) -> Call | None:
        """Begin a call; return None if there is no such method.

        Raises:
            StatusError: there are too many already, and its address has its part of them.
        """
        method = self._methods.get(head.path)
        if not method:
            return None
        if not method.request_deserializer:
            return ServiceCall(carrier, stream_id, head, method, self._resources)
        network, streams = network_of(read_peer(head.metadata, carrier.peer, self._proxies)), self._streams
        if streams.has_part(network, MAX_STREAMS):
            raise StatusError(
                code_pb2.RESOURCE_EXHAUSTED,
                f"{streams.count(network)} calls of health and reflection are open from your address, the limit;"
                " try again later",
            )
        streams.add(network)
        return ServiceCall(carrier, stream_id, head, method, self._resources, partial(streams.remove, network))

    async def _publish(self, frame: bytes, context: Context) -> bytes:
        metadata = context.invocation_metadata()
        hello = read_metadata(metadata, self._hub.limits)
        presented = (*metadata, *context.take_secrets())
        caller = read_caller(presented, context.peer(), self._proxies, context.certificate)
        del presented
        request = protobuf.decode_publish(frame)
        del frame  # it may be much larger than the request, and publishing may have to wait

        async def begin(publisher: Publisher) -> None:
            await context.send_initial_metadata(initial_metadata(publisher, hello))

        admission = await admit(self._hub, self._scheduler, hello, caller, publishing=True)
        del caller  # it knows the token
        context.admitted()
        return protobuf.encode_publish_response(await self._publishing.publish(admission, request, begin))

    # --- called by grpcio's functions, which expect a server

    def add_generic_rpc_handlers(self, handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        """Do nothing: the same methods are registered by name."""

    def add_registered_method_handlers(self, service: str, methods: Mapping[str, Method]) -> None:
        """Serve these methods."""
        self._methods.update({f"/{service}/{name}": method for name, method in methods.items()})
