"""Who may log in to a NATS server: NKeys, and JWTs of an operator, of accounts and of users, as ``nsc`` makes."""

from __future__ import annotations

import base64
import json
import secrets
import time
from pathlib import Path
from typing import Any

import nkeys

_UNLIMITED = {"subs": -1, "data": -1, "payload": -1}
_ACCOUNT = {
    **_UNLIMITED, "imports": -1, "exports": -1, "wildcards": True, "conn": -1, "leaf": -1,
    "mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1,
}  # fmt: skip


class Identity:
    """A key pair of NATS.

    Args:
        kind: a prefix of ``nkeys``: of an operator, an account or a user.

    Attributes:
        seed: the secret.
        name: the public key, as NATS writes it.
    """

    def __init__(self, kind: int = nkeys.PREFIX_BYTE_USER) -> None:
        self.seed = nkeys.encode_seed(secrets.token_bytes(32), kind).decode()
        self._pair = nkeys.from_seed(self.seed.encode())
        self.name = self._pair.public_key.decode()

    def write_seed(self, file: Path) -> Path:
        """Write the seed into a file."""
        file.write_text(f"{self.seed}\n")
        return file

    def signed(self, subject: Identity, kind: str, **claims: Any) -> str:
        """Return a JWT of another identity, or of this one."""
        payload = {
            "jti": secrets.token_hex(16),
            "iat": int(time.time()),
            "iss": self.name,
            "name": kind,
            "sub": subject.name,
            "nats": {"type": kind, "version": 2, **claims},
        }
        head = _encoded(json.dumps({"typ": "JWT", "alg": "ed25519-nkey"}).encode())
        unsigned = f"{head}.{_encoded(json.dumps(payload).encode())}"
        return f"{unsigned}.{_encoded(self._pair.sign(unsigned.encode()))}"


class Operator:
    """An operator with an account that uses JetStream, and one for the system.

    Attributes:
        account: whose users are let in.
        configuration: of a server that knows them.
    """

    def __init__(self) -> None:
        me, system = Identity(nkeys.PREFIX_BYTE_OPERATOR), Identity(nkeys.PREFIX_BYTE_ACCOUNT)
        self.account = Identity(nkeys.PREFIX_BYTE_ACCOUNT)
        token = me.signed(me, "operator", system_account=system.name)
        accounts = "\n".join(
            f"{one.name}: {me.signed(one, 'account', limits=limits)}"
            for one, limits in ((self.account, _ACCOUNT), (system, _ACCOUNT | {"disk_storage": 0, "mem_storage": 0}))
        )
        self.configuration = (
            f"operator: {token}\nsystem_account: {system.name}\nresolver: MEMORY\nresolver_preload {{\n{accounts}\n}}"
        )

    def write_creds(self, file: Path, account: Identity | None = None, **permissions: Any) -> Path:
        """Write the credentials of a user of the account, or of another one."""
        user = Identity()
        token = (account or self.account).signed(user, "user", **_UNLIMITED, **permissions)
        file.write_text(
            f"-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{user.seed}\n------END USER NKEY SEED------\n"
        )
        return file


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
