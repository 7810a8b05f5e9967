"""The server's certificate and key, and the authorities of clients: loaded from files, and reloaded."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NoReturn

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509.oid import ExtensionOID, NameOID

from bcast_grpc.transport.address import CannotStart
from bcast_grpc.transport.tls.handshake import explain

logger = logging.getLogger(__name__)

ALPN = {"grpc": "h2", "http": "http/1.1", "tcp": ""}
"""The ALPN name of each door's protocol, by the scheme of its URL; plain sockets have none."""

_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""The ciphers of TLS 1.2 that RFC 9113 allows. It allows all of TLS 1.3."""

_WARN_BEFORE = timedelta(days=14)
_TRIES = 3


@dataclass(frozen=True, slots=True)
class Loaded:
    """Files that have been read and belong together.

    Attributes:
        contents: the contents of the files, in their order.
        contexts: the TLS contexts, by ALPN name.
        names: the names in the certificate.
        begins: when its validity begins.
        expires: when it expires.
    """

    contents: Sequence[bytes]
    contexts: Mapping[str, ssl.SSLContext]
    names: Sequence[str]
    begins: datetime
    expires: datetime


class Certificates:
    """The certificates that new connections use. Existing connections keep those that they began with.

    Args:
        cert: PEM file with the server's certificate, followed by those between it and a root.
        key: PEM file with the certificate's key.
        client_ca: PEM file with the authorities of clients, which must then present a certificate.

    Raises:
        CannotStart: a file cannot be used; the text names the setting and the file, and says what is wrong.

    Attributes:
        files: the files that are read.
        loaded: what is in force.
    """

    def __init__(self, cert: Path, key: Path, client_ca: Path | None = None) -> None:
        self.files: Sequence[Path] = (cert, key, *([client_ca] if client_ca else []))
        self.loaded: Loaded
        self.read()()

    @property
    def requires_clients(self) -> bool:
        """Whether clients must present a certificate."""
        return len(self.files) > len(("cert", "key"))

    def context(self, alpn: str) -> ssl.SSLContext:
        """Return the context that is in force now for an ALPN name."""
        return self.loaded.contexts[alpn]

    def read(self) -> Callable[[], str]:
        """Read the files. Nothing changes yet; any thread may do it.

        Returns:
            What puts them in force, and returns a line that says what that is.

        Raises:
            CannotStart: a file is not what it should be.
        """
        for _ in range(_TRIES):
            contents = self._read_contents()
            loaded = self._load(contents)
            if self._read_contents() == contents:  # OpenSSL has read the files by itself in between
                return lambda: self._use(loaded)
        raise CannotStart(f"tls-cert {self.files[0]}: changes while it is read")

    def _use(self, loaded: Loaded) -> str:
        self.loaded = loaded
        self.warn()
        return self.describe()

    def describe(self) -> str:
        """Return in words what is in force."""
        loaded = self.loaded
        clients = f", for clients with a certificate of {self.files[-1]}" if self.requires_clients else ""
        until = loaded.expires.strftime("%Y-%m-%d %H:%M UTC")
        return f"TLS with a certificate for {', '.join(loaded.names) or 'no name'}, valid until {until}{clients}"

    def warn(self) -> None:
        """Warn if the certificate expires soon, has expired, or is not valid yet."""
        now = datetime.now(UTC)
        loaded = self.loaded
        name = self.files[0]
        if loaded.begins > now:
            logger.warning("tls-cert %s: the certificate is not valid before %s", name, loaded.begins)
        elif loaded.expires <= now:
            logger.warning("tls-cert %s: the certificate expired on %s; clients refuse it", name, loaded.expires)
        elif loaded.expires - now < _WARN_BEFORE:
            logger.warning("tls-cert %s: the certificate expires soon, on %s", name, loaded.expires)

    def _read_contents(self) -> Sequence[bytes]:
        return [_read(setting, file) for setting, file in zip(_SETTINGS, self.files, strict=False)]

    def _load(self, contents: Sequence[bytes]) -> Loaded:
        chain = _certificates("tls-cert", self.files[0], contents[0])
        self._check_key(chain[0], contents[1])
        for ca, content in zip(self.files[2:], contents[2:], strict=True):
            _certificates("tls-client-ca", ca, content)
        leaf = chain[0]
        contexts = {alpn: self._context(alpn, contents) for alpn in ALPN.values()}
        return Loaded(contents, contexts, _names(leaf), leaf.not_valid_before_utc, leaf.not_valid_after_utc)

    def _check_key(self, certificate: x509.Certificate, content: bytes) -> None:
        cert, file = self.files[:2]
        try:
            key = load_pem_private_key(content, None)
        except TypeError:
            raise CannotStart(
                f"tls-key {file}: is encrypted; the server has no passphrase for it, so store it without one"
                " (openssl pkey -in FILE -out FILE), readable by the server alone"
            ) from None
        except (ValueError, UnsupportedAlgorithm):
            raise CannotStart(f"tls-key {file}: contains no PEM private key") from None
        public = [one.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) for one in (
            key.public_key(), certificate.public_key()
        )]  # fmt: skip
        if public[0] != public[1]:
            raise CannotStart(f"tls-key {file}: does not belong to the first certificate in {cert}")

    def _context(self, alpn: str, contents: Sequence[bytes]) -> ssl.SSLContext:
        cert, key = self.files[:2]
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(_CIPHERS)
        context.options |= ssl.OP_NO_RENEGOTIATION
        if alpn:
            context.set_alpn_protocols([alpn])
        try:
            context.load_cert_chain(cert, key, _no_passphrase)
            for content in contents[2:]:
                context.load_verify_locations(cadata=content.decode("ascii", "ignore"))
                context.verify_mode = ssl.CERT_REQUIRED
                context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # the file may hold what a root has signed
        except ssl.SSLError as error:
            raise CannotStart(f"tls-cert {cert}: OpenSSL rejects it: {explain(error)}") from None
        except OSError as error:
            raise CannotStart(f"tls-cert {cert}: cannot be read: {error.strerror or error}") from None
        return context


_SETTINGS = ("tls-cert", "tls-key", "tls-client-ca")


def _read(setting: str, file: Path) -> bytes:
    try:
        if file.exists() and not file.is_file():  # a pipe could be read only once, and not anew
            raise CannotStart(f"{setting} {file}: is not a regular file")
        return file.read_bytes()
    except OSError as error:
        raise CannotStart(f"{setting} {file}: cannot be read: {error.strerror or error}") from None


def _certificates(setting: str, file: Path, content: bytes) -> Sequence[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(content)
    except ValueError:
        raise CannotStart(f"{setting} {file}: contains no PEM certificate") from None


def _names(certificate: x509.Certificate) -> Sequence[str]:
    """Return the names in a certificate: hosts and addresses, or else the common name."""
    try:
        extension = certificate.extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME)
    except x509.ExtensionNotFound:
        common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return [str(attribute.value) for attribute in common]
    alternatives = extension.value
    assert isinstance(alternatives, x509.SubjectAlternativeName)
    addresses = alternatives.get_values_for_type(x509.IPAddress)
    return [*alternatives.get_values_for_type(x509.DNSName), *map(str, addresses)]


def _no_passphrase() -> NoReturn:
    raise OSError("it is encrypted")  # OpenSSL would ask at the terminal
