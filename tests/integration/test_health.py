"""Health and reflection, the services beside Chat."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc import StatusCode
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from tests.engine import engine

from .conftest import LocalDoor
from .peers import Door, within

SERVICE = "bcast_grpc.v1.Chat"


SERVING = health_pb2.HealthCheckResponse.SERVING


REFLECTION = {"native": {"v1", "v1alpha"}, "grpcio": {"v1alpha"}}


def health(door: Door) -> Any:
    """The stub of the health service."""
    return health_pb2_grpc.HealthStub(door.channel())


@pytest.mark.parametrize("service", ["", SERVICE])
async def test_health(door: LocalDoor, service: str) -> None:
    """The server as a whole, and the service by its name, are SERVING."""
    response = await within(health(door).Check(health_pb2.HealthCheckRequest(service=service)))
    assert response.status == SERVING


async def test_health_of_nothing(door: LocalDoor) -> None:
    """A service that is not there is NOT_FOUND."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await within(health(door).Check(health_pb2.HealthCheckRequest(service="bcast_grpc.v2.Chat")))
    assert raised.value.code() == StatusCode.NOT_FOUND


async def test_reflection(door: LocalDoor) -> None:
    """Reflection lists the services and describes ours, for tools that have no ``.proto``."""

    def ask() -> tuple[set[str], dict[str, tuple[str, bool, str, bool]]]:
        with grpc.insecure_channel(door.address) as channel:
            database = ProtoReflectionDescriptorDatabase(channel)
            service = DescriptorPool(database).FindServiceByName(SERVICE)
            methods = {
                method.name: (
                    method.input_type.full_name,
                    method.client_streaming,
                    method.output_type.full_name,
                    method.server_streaming,
                )
                for method in service.methods
            }
            return set(database.get_services()), methods

    services, methods = await asyncio.to_thread(ask)
    reflection = {f"grpc.reflection.{version}.ServerReflection" for version in REFLECTION[engine()]}
    assert services == {SERVICE, "grpc.health.v1.Health", *reflection}
    assert methods == {
        "Connect": ("bcast_grpc.v1.ConnectRequest", True, "bcast_grpc.v1.ConnectResponse", True),
        "Publish": ("bcast_grpc.v1.PublishRequest", False, "bcast_grpc.v1.PublishResponse", False),
        "Subscribe": ("bcast_grpc.v1.SubscribeRequest", False, "bcast_grpc.v1.ConnectResponse", True),
    }


async def test_what_is_not_there(door: LocalDoor) -> None:
    """A method that the service does not have is UNIMPLEMENTED, and no fault."""
    call: Any = door.channel().unary_unary(f"/{SERVICE}/Dance")
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await within(call(b""))
    assert raised.value.code() == StatusCode.UNIMPLEMENTED
