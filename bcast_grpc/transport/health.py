"""The standard service of gRPC for health checks, as both engines serve it."""

from __future__ import annotations

from grpc_health.v1 import health, health_pb2

from bcast_grpc.transport.door import Shared
from bcast_grpc.transport.rpc import SERVICE

_SERVICES = ("", SERVICE)


class Health:
    """Reports the server as serving while it is ready.

    Args:
        shared: what all doors share.
        servicer: answers the checks.
    """

    def __init__(self, shared: Shared, servicer: health.aio.HealthServicer) -> None:
        self._readiness = shared.hub.readiness
        self._scheduler = shared.scheduler
        self._servicer = servicer

    async def begin(self) -> None:
        """Report the present state, and every change of it from now on."""
        self._readiness.follow(self._report_soon)
        await self._report()

    async def drain(self) -> None:
        """Report as not serving, for good."""
        await self._servicer.enter_graceful_shutdown()

    def _report_soon(self) -> None:
        self._scheduler.start(self._report())

    async def _report(self) -> None:
        status = health_pb2.HealthCheckResponse
        for service in _SERVICES:
            await self._servicer.set(service, status.NOT_SERVING if self._readiness.why_not else status.SERVING)
