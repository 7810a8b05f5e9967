"""An authority of the tests' own, and files with what it has signed."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import trustme

HOST = "127.0.0.1"
_LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


class Files(NamedTuple):
    """A certificate and its key, as files."""

    cert: Path
    key: Path

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of a server that shows it."""
        return {"tls_cert": self.cert, "tls_key": self.key}

    @property
    def flags(self) -> Sequence[str]:
        """The same as flags."""
        return ["--tls-cert", str(self.cert), "--tls-key", str(self.key)]


class Authority:
    """Signs certificates.

    Args:
        folder: where its files are put.
    """

    def __init__(self, folder: Path, ca: trustme.CA | None = None) -> None:
        self._ca = ca or trustme.CA()
        self._folder = folder
        self.pem = self._ca.cert_pem.bytes()
        self.file = folder / "ca.pem"
        self.file.write_bytes(self.pem)

    def sign(self, name: str, *identities: str, expires: datetime | None = None, **options: Any) -> Files:
        """Write a certificate for some identities, the server's address unless there are others."""
        cert = self._ca.issue_cert(
            *(identities or (HOST, "localhost")),
            not_after=expires,
            not_before=expires and _LONG_AGO,
            **options,
        )
        files = Files(self._folder / f"{name}.pem", self._folder / f"{name}-key.pem")
        files.cert.write_bytes(b"".join(part.bytes() for part in cert.cert_chain_pems))
        files.key.write_bytes(cert.private_key_pem.bytes())
        return files

    def context(self, client: Files | None = None) -> ssl.SSLContext:
        """Return what a client has that trusts this authority, and shows a certificate or none."""
        context = ssl.create_default_context(cadata=self.pem.decode())
        if client:
            context.load_cert_chain(*client)
        return context


@cache
def shared_ca() -> trustme.CA:
    """Return the same authority each time: to make one takes a while."""
    return trustme.CA()
