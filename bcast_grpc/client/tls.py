"""TLS of a client: which authorities it trusts, which certificate it presents, and why a server is not trusted."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import grpc

from bcast_grpc.client.address import Address

_HANDSHAKE_S = 5.0
_ALERT_S = 0.5
"""How long a server that refuses our certificate may take to say so: in TLS 1.3 it does so after the handshake."""

_PEM = b"-----BEGIN "
_UNKNOWN = ("unable to get", "self-signed", "self signed")
_REASONS = {
    "WRONG_VERSION_NUMBER": "it does not speak TLS; use grpc:// to connect without encryption",
    "HTTP_REQUEST": "it does not speak TLS; use grpc:// to connect without encryption",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "it requires a client certificate; give tls-cert and tls-key",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "it refused the TLS handshake; it may require a client certificate",
    "TLSV1_ALERT_UNKNOWN_CA": "it does not trust the authority that signed our certificate",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "our certificate has expired",
    "SSLV3_ALERT_BAD_CERTIFICATE": "it does not accept our certificate",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "it does not accept our certificate",
}


@dataclass(frozen=True, slots=True)
class Tls:
    """How a client authenticates the server, and itself to the server. The files are read for each connection.

    Args:
        ca: PEM file with the authorities to trust; without it, the system's are trusted.
        cert: PEM file with the client's certificate, followed by those between it and a root.
        key: PEM file with the certificate's key.
    """

    ca: str | PathLike[str] | None = None
    cert: str | PathLike[str] | None = None
    key: str | PathLike[str] | None = None

    def check(self) -> None:
        """Check what can be checked without a server.

        Raises:
            ValueError: a file cannot be used; the text names the argument and the file, and says what is wrong.
        """
        if (self.cert is None) != (self.key is None):
            missing, given = ("tls-cert", "tls-key") if self.cert is None else ("tls-key", "tls-cert")
            raise ValueError(f"{missing}: must be given together with {given}")
        try:
            self.context()
        except OSError as error:
            raise ValueError(str(error)) from None

    def credentials(self) -> grpc.ChannelCredentials:
        """Return the credentials for a gRPC channel.

        Raises:
            OSError: a file cannot be read or used; the text names it.
        """
        roots = _read("tls-ca", self.ca, "a certificate") if self.ca else _system_roots()
        if self.cert is None or self.key is None:
            return grpc.ssl_channel_credentials(roots)
        cert, key = _read("tls-cert", self.cert, "a certificate"), _read("tls-key", self.key, "a key")
        return grpc.ssl_channel_credentials(roots, key, cert)

    def context(self) -> ssl.SSLContext:
        """Return the same for the module ``ssl``.

        Raises:
            OSError: a file cannot be read or used; the text names it.
        """
        context = ssl.create_default_context()
        if self.ca:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            pem = _read("tls-ca", self.ca, "a certificate")
            try:
                context.load_verify_locations(cadata=pem.decode("ascii", "ignore"))
            except ssl.SSLError as error:
                raise OSError(f"tls-ca {self.ca}: contains no valid PEM certificate: {error.reason}") from None
        if self.cert and self.key:
            _read("tls-cert", self.cert, "a certificate")
            _read("tls-key", self.key, "a key")
            try:
                context.load_cert_chain(self.cert, self.key, lambda: "")
            except ssl.SSLError as error:
                why = (error.reason or "it may be encrypted").lower().replace("_", " ")
                raise OSError(f"tls-cert {self.cert} with tls-key {self.key}: {why}") from None
        context.set_alpn_protocols(["h2"])
        return context

    async def explain(self, address: Address) -> str:
        """Make another TLS handshake with a server, to find out why gRPC did not trust it.

        Args:
            address: the server.

        Returns:
            The reason; empty if none was found.
        """
        if address.host_port is None:
            return ""
        host, port = address.host_port
        try:
            async with asyncio.timeout(_HANDSHAKE_S):
                reader, writer = await asyncio.open_connection(
                    host, port, ssl=self.context(), server_hostname=address.server_name
                )
            try:
                async with asyncio.timeout(_ALERT_S):
                    await reader.read(1)
            finally:
                writer.transport.abort()
        except ssl.SSLCertVerificationError as error:
            return _why_not_trusted(error.verify_message)
        except ssl.SSLError as error:
            reason = error.reason or str(error)
            return _REASONS.get(reason, f"the TLS handshake failed: {reason.lower().replace('_', ' ')}")
        except (OSError, TimeoutError, ValueError):
            return ""
        return ""


def _why_not_trusted(found: str) -> str:
    if "mismatch" in found:
        return f"its certificate is for another name: {found.rstrip('.')}"
    if "expired" in found:
        return "its certificate has expired"
    if "not yet valid" in found:
        return "its certificate is not valid yet"
    if any(word in found for word in _UNKNOWN):
        return f"its certificate is not signed by an authority that is trusted here ({found}); name one with tls-ca"
    return f"its certificate is not valid: {found}"


def _read(argument: str, file: str | PathLike[str], what: str) -> bytes:
    try:
        content = Path(file).read_bytes()
    except OSError as error:
        raise OSError(f"{argument} {file}: cannot be read: {error.strerror}") from None
    if _PEM not in content:
        raise OSError(f"{argument} {file}: contains no PEM with {what}")
    return content


def _system_roots() -> bytes | None:
    """Return the authorities that this machine trusts; None if it has no file of them, so that gRPC uses its own."""
    paths = ssl.get_default_verify_paths()  # these consider SSL_CERT_FILE and SSL_CERT_DIR
    if paths.cafile:
        return Path(paths.cafile).read_bytes()
    files = sorted(Path(paths.capath).glob("*.0")) if paths.capath else []
    return b"\n".join(file.read_bytes() for file in files) or None
