"""Who may come in: read from the files that the settings name, and read again when they change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from bcast_grpc.auth.faults import Unusable
from bcast_grpc.auth.gatekeeper import Gatekeeper, Policy
from bcast_grpc.auth.jwks import RemoteKeys
from bcast_grpc.auth.keys import Key, read_keys
from bcast_grpc.auth.rights import read_rights
from bcast_grpc.auth.tokens import Verifier
from bcast_grpc.core.limits import Limits
from bcast_grpc.core.scheduling import Scheduler
from bcast_grpc.settings import Settings
from bcast_grpc.transport.address import CannotStart

T = TypeVar("T")


class Access:
    """The gatekeeper of a server, and the files that it is made from.

    Args:
        settings: name the files.
        scheduler: the server's event loop.
        limits: the server's bounds.

    Attributes:
        gatekeeper: decides who a client is.
        changed: called when other rights are in force.

    Raises:
        CannotStart: a file cannot be used; the text names the setting and the file, and says what is wrong.
    """

    def __init__(self, settings: Settings, scheduler: Scheduler, limits: Limits) -> None:
        self._settings = settings
        self._remote = [RemoteKeys(source, scheduler.time) for source in settings.token_keys if _is_url(source)]
        self._key_files = [Path(source).expanduser() for source in settings.token_keys if not _is_url(source)]
        self.changed: Callable[[], None] = _nobody
        self.gatekeeper = Gatekeeper(self._read(), scheduler, limits)

    @property
    def files(self) -> Sequence[Path]:
        """The files of keys and rights."""
        rights = self._settings.rights
        return [*self._key_files, *([rights.expanduser()] if rights else [])]

    def read(self) -> Callable[[], str]:
        """Read the files; see ``Reloadable``."""
        policy = self._read()

        def use() -> str:
            self.gatekeeper.policy = policy
            for source in self._remote:
                source.expire()
            self.changed()
            return self.describe()

        return use

    def describe(self) -> str:
        """Return in words what is in force."""
        policy = self.gatekeeper.policy
        parts = []
        if policy.takes_tokens:
            sources = [f"{len(policy.keys)} from files"] if policy.keys else []
            parts.append(f"keys for tokens: {', '.join([*sources, *(source.url for source in policy.remote)])}")
        if policy.rights:
            parts.append(f"rights: {self._settings.rights}, with {len(policy.rights.subjects)} subjects")
        return "; ".join(parts)

    def __bool__(self) -> bool:
        """Whether there is anything to reload."""
        return bool(self.files or self._remote)

    async def close(self) -> None:
        """Stop fetching keys."""
        for source in self._remote:
            await source.close()

    def _read(self) -> Policy:
        settings = self._settings
        return Policy(
            keys=[key for file in self._key_files for key in _keys_in(file)],
            remote=self._remote,
            certificates=settings.tls_client_ca is not None,
            verifier=Verifier(settings.token_issuer or "", settings.token_audience or ""),
            rights=_checked("rights", partial(read_rights, settings.rights.expanduser())) if settings.rights else None,
        )


def _is_url(source: str) -> bool:
    return source.startswith("https://")


def _keys_in(file: Path) -> Sequence[Key]:
    return _checked("token-keys", lambda: read_keys(file))


def _checked(setting: str, read: Callable[[], T]) -> T:
    try:
        return read()
    except Unusable as error:
        raise CannotStart(f"{setting} {error}") from None


def _nobody() -> None:
    """Do nothing: nobody has asked for changes."""
