"""The name in a client's certificate."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator, Mapping
from typing import Any

from cryptography import x509
from cryptography.x509.oid import ExtensionOID, NameOID

from bcast_grpc.errors import CallError, ErrorCode
from bcast_grpc.transport.ending import ConnectionGone


def subject_of(transport: Any) -> str | None:
    """Return the name in the certificate of a connection's peer; None if it has presented none.

    It is the first URI among the alternative names, else the first DNS name there, else the common name.

    Args:
        transport: a transport of asyncio, with or without TLS; None if the connection is lost.

    Raises:
        ConnectionGone: the connection is lost or broken, so nobody can tell.
    """
    if transport is None:
        raise ConnectionGone("it disconnected")
    try:
        certificate = transport.get_extra_info("peercert")
    except ValueError as error:  # OpenSSL has forgotten all about a connection that broke TLS
        raise ConnectionGone(f"TLS is broken: {error}") from None
    return subject(certificate or {})


def subject(certificate: Mapping[str, Any]) -> str | None:
    """Return the name in a certificate, as ``ssl.SSLObject.getpeercert()`` describes it."""
    names = certificate.get("subjectAltName", ())
    for kind in ("URI", "DNS"):
        for found, name in names:
            if found == kind and name:
                return str(name)
    parts = (part for parts in certificate.get("subject", ()) for part in parts)
    return next((str(name) for key, name in parts if key == "commonName" and name), None)


def has_expired(connection: ssl.SSLObject) -> bool:
    """Whether the certificate of a client that resumes a session has expired since: OpenSSL does not look again."""
    certificate = connection.getpeercert() if connection.session_reused else None
    return certificate is not None and ssl.cert_time_to_seconds(str(certificate["notAfter"])) <= time.time()


def subject_of_pem(pem: bytes) -> str | None:
    """Return the name in a certificate in PEM, as grpcio provides it.

    Raises:
        CallError: ``UNAUTHENTICATED``: it has expired. A client that resumes a session may come in with it, because
            gRPC does not look again.
    """
    certificate = x509.load_pem_x509_certificate(pem)
    if certificate.not_valid_after_utc.timestamp() <= time.time():
        raise CallError(ErrorCode.UNAUTHENTICATED, "your certificate has expired; connect anew with another one")
    return next(_names(certificate), None)


def _names(certificate: x509.Certificate) -> Iterator[str]:
    """Yield the names in a certificate, the most specific first."""
    try:
        extension = certificate.extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME)
    except x509.ExtensionNotFound:
        pass
    else:
        alternatives = extension.value
        assert isinstance(alternatives, x509.SubjectAlternativeName)
        yield from filter(None, alternatives.get_values_for_type(x509.UniformResourceIdentifier))
        yield from filter(None, alternatives.get_values_for_type(x509.DNSName))
    for attribute in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME):
        if attribute.value:
            yield str(attribute.value)
