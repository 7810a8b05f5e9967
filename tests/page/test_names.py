"""Names and rooms are brought to one form before they are sent, by the same rule as the server's."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from bcast_grpc.core.limits import Limits
from bcast_grpc.core.names import check_name
from bcast_grpc.errors import RequestError
from tests.core.test_names import DIRECTIONS, INVISIBLE, VISIBLE

from .conftest import Visit
from .server import PageServer

pytestmark = pytest.mark.asyncio(loop_scope="package")

LIMITS = Limits(max_name=100_000)

# The browser and this Python may know different versions of Unicode.
KNOWN = [
    *(label for label in [*INVISIBLE.values(), *VISIBLE.values(), *DIRECTIONS] if len(label) < 1000),
    *("a" + character for character in DIRECTIONS),
    *("cafe\u0301", " dev\u3000", "\ufeffdev\u200b", "\u200edev\u2800", "a\tb", "a\u2028b", "a\x1bb", "a\u115f"),
]

_JUDGE = """async labels => {
    const {faultOf, tidied} = await import("./names.js");
    return labels.map(label => [tidied(label), faultOf(tidied(label)) === ""]);
}"""


def kept_by_the_server(label: str) -> str | None:
    """The form in which the server keeps a name; None if it refuses it."""
    try:
        return check_name(label, LIMITS)
    except RequestError:
        return None


async def test_the_page_judges_as_the_server_does(visit: Visit, server: PageServer) -> None:
    """What the one takes the other takes too, in the same form."""
    ana = await visit(server.url)
    await ana.page.goto(server.url)
    judged = await ana.page.evaluate(_JUDGE, KNOWN)
    for label, (form, taken) in zip(KNOWN, judged, strict=True):
        assert (form if taken else None) == kept_by_the_server(label), ascii(label)


@pytest.mark.parametrize(
    ("room", "name", "says"),
    [
        ("\u200b", "ana", "room: has no visible character"),
        ("dev\u202e", "ana", "room: contains U+202E"),
        ("dev", "\u3164", "name: has no visible character"),
        ("dev", "a\tb", "name: contains the control character U+0009"),
    ],
)
async def test_what_cannot_be_seen_is_not_sent(
    visit: Visit, server: PageServer, room: str, name: str, says: str
) -> None:
    """One is told at the entrance, at the field that it is about, and nothing was asked of the server."""
    ana = await visit(server.url)
    await ana.open(room, name)
    await ana.is_in("form")
    await expect(ana.page.get_by_role("alert")).to_contain_text(says)
    box = ana.room_box if says.startswith("room") else ana.name_box
    await expect(box).to_be_focused()
    await expect(box).to_have_attribute("aria-invalid", "true")
    assert not ana.sockets
    await ana.name_box.fill("ana")
    await ana.room_box.fill("a room")
    await ana.join.click()
    await ana.is_in("online")


async def test_rooms_that_look_the_same_are_one(visit: Visit, server: PageServer, room: str) -> None:
    """However they were typed; the address, the title and what is kept have the one form."""
    ana, bob = await visit(server.url), await visit(server.url)
    await ana.enter(f" {room} cafe\u0301\u200b", "jose\u0301 ")
    await bob.enter(f"{room} caf\u00e9", "bob")
    await bob.say("hola")
    await ana.sees("hola")
    await expect(bob.people).to_have_text(["bob", "jos\u00e9"])
    await expect(ana.page).to_have_title(f"{room} caf\u00e9 · bcast")
    assert "caf%C3%A9" in ana.page.url
    assert "%CC%81" not in ana.page.url
