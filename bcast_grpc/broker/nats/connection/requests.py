"""Requests over NATS, and their answers, which come on one subscription."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from itertools import count
from typing import Protocol

from nats.aio.msg import Msg

_AGAIN_S = 0.25

Take = Callable[[Msg | None], None]
"""Takes an answer; None: the connection is lost."""


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
        self._waiting: dict[str, Take] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    async def ask(self, subject: str, data: bytes, timeout_s: float, headers: dict[str, str] | None) -> Msg:
        """Send a message, and return its answer.

        Raises:
            Lost: it does not come in time.
        """
        done: asyncio.Future[Msg | None] = asyncio.get_running_loop().create_future()

        def take(answer: Msg | None) -> None:
            if not done.done():
                done.set_result(answer)

        number = self._wait(take)
        try:
            await self._send(subject, data, headers, number)
            async with asyncio.timeout(timeout_s):
                answer = await done
        except TimeoutError:
            raise Lost from None
        finally:
            self._waiting.pop(number, None)
        if answer is None:
            raise Lost
        return answer

    async def collect(self, subject: str, data: bytes, timeout_s: float) -> list[Msg]:
        """Send a message that any of several may answer, and return all answers up to the one with a ``Status``.

        Who is asked may hang. So the message is sent again, perhaps to another one, until an answer begins to come.

        Raises:
            Lost: they do not come in time.
        """
        done: asyncio.Future[list[Msg]] = asyncio.get_running_loop().create_future()
        came: dict[str, list[Msg]] = {}

        def taking(answers: list[Msg]) -> Take:
            def take(answer: Msg | None) -> None:
                if answer is not None:
                    answers.append(answer)
                if (answer is None or is_status(answer)) and not done.done():
                    done.set_result(answers)

            return take

        wait_s = _AGAIN_S
        try:
            async with asyncio.timeout(timeout_s):
                while not done.done():
                    if not any(came.values()):
                        begun: list[Msg] = []
                        number = self._wait(taking(begun))
                        came[number] = begun
                        await self._send(subject, data, None, number)
                    await asyncio.wait([done], timeout=wait_s)
                    wait_s *= 2
        except TimeoutError:
            raise Lost from None
        finally:
            for number in came:
                self._waiting.pop(number, None)
        answers = done.result()
        if not answers or not is_status(answers[-1]):
            raise Lost
        return answers

    def _wait(self, take: Take) -> str:
        number = str(next(self._numbers))
        self._waiting[number] = take
        return number

    async def _send(self, subject: str, data: bytes, headers: dict[str, str] | None, number: str) -> None:
        await self._publish(subject, data, headers, f"{self._inbox}.{number}")

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
