"""Requests over NATS, and their answers, which come on one subscription."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from itertools import count
from typing import Protocol

from nats.aio.msg import Msg


class Lost(Exception):
    """There is no answer: the connection was lost, or it took too long. Nobody knows what became of the request."""


class Failed(Exception):
    """The answer is an error."""


class Publish(Protocol):
    """Sends a message."""

    async def __call__(self, subject: str, data: bytes, headers: dict[str, str] | None, reply: str) -> None:
        """Send it; its answers go to ``reply``."""


class Requests:
    """The requests of one connection.

    Args:
        publish: sends a message.

    Attributes:
        subject: where all answers come; ``answered`` takes them.
    """

    def __init__(self, publish: Publish) -> None:
        self._inbox = f"_INBOX.{secrets.token_hex(11)}"
        self.subject = f"{self._inbox}.*"
        self._publish = publish
        self._numbers = count(1)
        self._waiting: dict[str, Callable[[Msg | None], None]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    async def ask(
        self,
        subject: str,
        data: bytes,
        timeout_s: float,
        headers: dict[str, str] | None,
        is_last: Callable[[Msg], bool] = lambda _: True,
    ) -> list[Msg]:
        """Send a message, and return its answers up to the last one.

        Raises:
            Lost: they do not come in time.
        """
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        answers: list[Msg] = []

        def take(answer: Msg | None) -> None:
            if answer is not None:
                answers.append(answer)
            if (answer is None or is_last(answer)) and not done.done():
                done.set_result(None)

        number = str(next(self._numbers))
        self._waiting[number] = take
        try:
            await self._publish(subject, data, headers, f"{self._inbox}.{number}")
            async with asyncio.timeout(timeout_s):
                await done
        except TimeoutError:
            raise Lost from None
        finally:
            self._waiting.pop(number, None)
        if not answers or not is_last(answers[-1]):
            raise Lost
        return answers

    def answered(self, answer: Msg) -> None:
        """Give an answer to whoever asked."""
        if take := self._waiting.get(answer.subject.rpartition(".")[2]):
            take(answer)

    def lose(self) -> None:
        """Give up all requests: the connection is lost."""
        waiting, self._waiting = self._waiting, {}
        for take in waiting.values():
            take(None)


def is_status(message: Msg) -> bool:
    """Whether a message is the end of an answer in several messages."""
    return bool(message.headers and "Status" in message.headers)
