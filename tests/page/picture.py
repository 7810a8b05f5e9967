"""Make ``docs/page.png``, the page on a desk and on a phone, from a real run: ``python -m tests.page.picture``."""

from __future__ import annotations

import asyncio
import sys
from base64 import b64encode
from pathlib import Path

from playwright.async_api import Browser

from tests.integration.peers import Door, Peer

from .chromium import chromium
from .person import Person
from .server import PageServer, serving

ROOT = Path(__file__).parent.parent.parent
PICTURE = ROOT / "docs" / "page.png"
MAX_BYTES = 150_000
ROOM = "dev"
SAID = [
    ("ana", "hola! The new release is on the test server"),
    ("bob", "¡hola, ana! Does the replay work now?"),
    ("ana", "yes: close the laptop, take the train, open it again. Nothing lost, nothing twice"),
    ("eva", "my Go service listens too, over gRPC: same room, same order"),
    ("bob", "and I am on the phone, just a page, nothing installed 🙂"),
    ("eva", 'bcast.Publish(ctx, &pb.PublishRequest{Msg: "build 42 is green"})\nthat is all it takes'),
    ("ana", "shall we ship it?"),
    ("bob", "👍"),
    ("eva", "vamos 🚀"),
]


async def talk(server: PageServer, people: dict[str, Person], eva: Peer) -> None:
    """Let them say it, one after the other."""
    for author, text in SAID:
        if author in people:
            await people[author].say(text)
        else:
            await eva.say(text)
        for person in people.values():
            await person.sees(text)


async def photograph(browser: Browser, server: PageServer) -> bytes:
    """Let three people meet, and take pictures of two screens."""
    desk = await browser.new_context(viewport={"width": 920, "height": 600})
    phone = await browser.new_context(viewport={"width": 320, "height": 600}, is_mobile=True, color_scheme="dark")
    door = Door(server.grpc)
    people = {"ana": Person(await desk.new_page(), server.url), "bob": Person(await phone.new_page(), server.url)}
    for name, person in people.items():
        await person.enter(ROOM, name)
    eva = await door.connect("eva", room=ROOM)
    for person in people.values():
        await person.sees_notice("joined", "eva joined")
    await talk(server, people, eva)
    for person in people.values():
        await person.has_said_all()
    screens = [await person.page.screenshot() for person in people.values()]
    await door.close()
    return await put_side_by_side(browser, screens)


async def put_side_by_side(browser: Browser, screens: list[bytes]) -> bytes:
    """Make one picture of several."""
    images = "".join(f'<img src="data:image/png;base64,{b64encode(screen).decode()}">' for screen in screens)
    page = await browser.new_page()
    await page.set_content(
        "<!doctype html><style>body { margin: 0; display: flex; align-items: start; gap: 24px; width: max-content }"
        f" img {{ flex: none; border-radius: 12px; border: 1px solid #8888 }}</style><body>{images}"
    )
    return await page.locator("body").screenshot(omit_background=True)


async def main() -> None:
    """Make the picture."""
    async with serving() as server, chromium() as browser:
        picture = await photograph(browser, server)
    if len(picture) > MAX_BYTES:
        sys.exit(f"the picture has {len(picture)} bytes, more than {MAX_BYTES}")
    PICTURE.write_bytes(picture)
    sys.stdout.write(f"{PICTURE.relative_to(ROOT)} drawn, {len(picture)} bytes\n")


if __name__ == "__main__":
    asyncio.run(main())
