"""The rules of HTTP/2, as h2spec knows them: all its cases, the strict ones too."""

from __future__ import annotations

import asyncio
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.go_tools import BUILD_S, H2SPEC, build

from .conftest import Spawn

pytestmark = pytest.mark.grpc_engine("native", reason="grpcio's HTTP/2 is tested where it is made")

MAX_HEADER_LENGTH = 3800
"""Bytes of h2spec's longest field: two of them fit into 8 KiB, five do not fit into a frame."""

NO_TABLE = "it adds to a table of HPACK whose size the server has set to 0: RFC 7541, section 4.2"
EXCEPTED = {
    "Sends a dynamic table size update": NO_TABLE,
    "Sends multiple dynamic table size update": NO_TABLE,
    "Sends multiple CONTINUATION frames preceded by a HEADERS frame": NO_TABLE,
}


@pytest.mark.timeout(BUILD_S)
async def test_every_rule(spawn: Spawn, tmp_path: Path) -> None:
    """All of h2spec's cases pass but those that are excepted, and those fail."""
    h2spec, report = build(H2SPEC, tmp_path), tmp_path / "report.xml"
    host, _, port = (await spawn()).address.rpartition(":")
    process = await asyncio.create_subprocess_exec(
        *(h2spec, "--strict", "--host", host, "--port", port, "--junit-report", report),
        *("--max-header-length", f"{MAX_HEADER_LENGTH}", "--timeout", "5"),
        stdout=asyncio.subprocess.PIPE,
    )
    said, _ = await process.communicate()
    cases = ElementTree.parse(report).getroot().findall(".//testcase")
    assert len(cases) > 140
    assert not [case for case in cases if case.find("skipped") is not None]
    failed = {str(case.get("classname")) for case in cases if list(case)}
    assert failed == set(EXCEPTED), said.decode()
