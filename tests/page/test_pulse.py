"""When the page gives up a connection, and when it only waits: by a clock of its own, so nothing here takes time."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.async_api import Page

from .conftest import Serve, Visit
from .person import Person
from .server import PageServer

pytestmark = pytest.mark.asyncio(loop_scope="package")

_BEGIN = """async () => {
    const {Pulse} = await import("./pulse.js");
    const told = window.told = {asked: 0, dead: 0, slept: 0, unsent: 0, awaiting: false};
    window.pulse = new Pulse({
        ask: () => ++told.asked,
        unsent: () => told.unsent,
        awaiting: () => told.awaiting,
        slept: () => { told.slept += 1; },
        dead: () => { told.dead += 1; },
    });
    pulse.begin();
    pulse.heard();
}"""


class Line:
    """A page with a ``Pulse`` on a line that is only thought of."""

    def __init__(self, page: Page) -> None:
        self.page = page

    async def do(self, script: str) -> None:
        """Let something happen on it."""
        await self.page.evaluate(f"() => {{ {script}; }}")

    async def wait(self, seconds: float) -> None:
        """Let time go by."""
        await self.page.clock.run_for(round(seconds * 1000))

    async def told(self, what: str) -> Any:
        """Return how often something was told."""
        return await self.page.evaluate(f"told.{what}")


async def begin(visit: Visit, server: PageServer) -> Line:
    """Open a page whose time only goes by where that is asked for."""
    ana = await visit(server.url)
    await ana.page.clock.install(time=0)
    await ana.page.goto(server.url)
    await ana.page.clock.pause_at(1_000_000)
    await ana.page.evaluate(_BEGIN)
    return Line(ana.page)


async def test_a_quiet_line_is_asked_and_then_given_up(visit: Visit, server: PageServer) -> None:
    """Nothing for 45 s, and no answer for 10 s more."""
    line = await begin(visit, server)
    await line.wait(44)
    assert not await line.told("asked")
    await line.wait(7)
    assert await line.told("asked") == 1
    assert not await line.told("dead")
    await line.wait(10)
    assert await line.told("dead") == 1


async def test_an_answer_that_is_due_is_asked_for_sooner(visit: Visit, server: PageServer) -> None:
    """Whoever said something wants to know."""
    line = await begin(visit, server)
    await line.do("told.awaiting = true")
    await line.wait(16)
    assert await line.told("asked") == 1
    await line.do("pulse.answered()")
    await line.wait(4)
    assert not await line.told("dead")


async def test_whatever_comes_is_life(visit: Visit, server: PageServer) -> None:
    """The answer waits behind it, however long that takes."""
    line = await begin(visit, server)
    await line.do("pulse.probe()")
    for _ in range(20):
        await line.wait(9)
        await line.do("pulse.heard()")
    assert not await line.told("dead")
    await line.wait(20)
    assert await line.told("dead") == 1


async def test_whatever_goes_out_is_life(visit: Visit, server: PageServer) -> None:
    """A long message on a slow line is not answered before all of it has gone."""
    line = await begin(visit, server)
    await line.do("told.unsent = 100_000; pulse.probe()")
    for _ in range(9):
        await line.do("told.unsent -= 10_000")
        await line.wait(10)
    assert not await line.told("dead")
    await line.wait(10)
    assert await line.told("dead") == 1


async def test_a_line_that_is_only_slow_is_found_to_be_so(visit: Visit, server: PageServer) -> None:
    """A frame gives no sign until its end; whoever is given up for that gets twice the time on the next connection."""
    line = await begin(visit, server)
    for seconds in (10, 20, 40, 80, 160, 160):
        await line.do("pulse.end(); pulse.begin(); told.dead = 0; pulse.probe()")
        await line.wait(seconds - 1)
        assert not await line.told("dead")
        await line.wait(1.1)
        assert await line.told("dead") == 1
    await line.do("pulse.probe(); pulse.answered(); pulse.probe(); told.dead = 0")  # it is quick again
    await line.wait(10.1)
    assert await line.told("dead") == 1


async def test_a_clock_on_the_wall_that_is_set_hurts_nobody(visit: Visit, server: PageServer) -> None:
    """Intervals are those of another clock."""
    line = await begin(visit, server)
    for hours in (-3, 5, -200):
        await line.do(f"const now = Date.now; Date.now = () => now() + {hours * 3_600_000}")
        await line.wait(6)
        await line.do("if (told.asked) pulse.answered(); pulse.heard()")
        await line.wait(30)
        await line.do("pulse.heard()")
    assert not await line.told("dead")


_STEP_BACK = """{
    const now = Date.now;
    Date.now = () => now() - (window.back ?? 0);
}"""

_EARLY = """{
    const set = window.setTimeout;
    window.setTimeout = (job, ms, ...rest) => set(job, Math.max(0, ms - 20), ...rest);
}"""


@pytest.mark.parametrize("script", [_STEP_BACK, _EARLY], ids=["a clock that is set back", "timers that are early"])
async def test_a_message_that_had_to_wait_goes_when_its_time_has_come(
    visit: Visit, serve: Serve, room: str, script: str
) -> None:
    """Neither a step of the clock nor a timer that is early leaves it lying."""
    server = await serve("--rate", "1", "--burst", "1")
    ana, bob = await visit(server.url), await visit(server.url)
    await ana.page.add_init_script(script)
    await ana.enter(room, "ana")
    await bob.enter(room, "bob")
    await hold(ana)
    await ana.page.evaluate("window.back = 3_600_000")
    await ana.has_said_all()
    await bob.sees("one", "two", "three")


async def hold(person: Person) -> None:
    """Say more than the server takes at once."""
    for text in ("one", "two", "three"):
        await person.say(text)
    waiting = person.page.locator("#pending .reason").filter(has_text=re.compile("^Waiting"))
    await waiting.first.wait_for(state="attached")
