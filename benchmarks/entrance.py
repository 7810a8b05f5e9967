"""What comes in with TLS and tokens costs: `python -m benchmarks.entrance`.

First clients connect, each over a TLS connection of its own and with a token of its own: shown is the CPU that the
server needs for one, and how many of them one core can take in a second. Then two clients talk, a message each 10 ms,
while another address presents 1000 wrong tokens a second: shown is how late the messages come, without and with that.
The server has a core; all others share the other.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import secrets
import ssl
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from benchmarks.attacker import CONNECT, Attacker, block, request
from benchmarks.floods import talk
from benchmarks.load import allow_files
from benchmarks.peers import LOAD_CORE, OURS_TLS, Peer, make_certificate, running

GOAL_PER_SECOND, GOAL_TIMES = 500, 2
WRONG_PER_SECOND = 1000
AT_ONCE = 16
_STRANGER = "127.0.0.2"
Count = Any  # a number that processes share, whose type has no name
_TICK_S = 0.01


def keys() -> dict[str, Any]:
    """Make a key of each kind, by its algorithm."""
    return {
        "HS256": secrets.token_bytes(32),
        "EdDSA": ed25519.Ed25519PrivateKey.generate(),
        "ES256": ec.generate_private_key(ec.SECP256R1()),
        "RS256": rsa.generate_private_key(public_exponent=65537, key_size=2048),
    }


def tokens(key: Any, algorithm: str, count: int) -> list[str]:
    """Sign tokens for as many subjects."""
    expires = time.time() + 3600
    return [jwt.encode({"sub": f"client {n}", "exp": expires}, key, algorithm) for n in range(count)]


def verified(key: Any) -> bytes:
    """What the server has to know of a key, as the content of a file."""
    if isinstance(key, bytes):
        return key
    return bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


@contextmanager
def guarded(key: Any) -> Iterator[tuple[str, int]]:
    """Run our server, which speaks TLS and takes tokens; give its address and process id."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "key"
        path.write_bytes(verified(key))
        peer: Peer = replace(OURS_TLS, command=[*OURS_TLS.command, "--token-keys", str(path)])
        with running(peer) as found:
            yield found


def trusting() -> ssl.SSLContext:
    """What a client has that trusts any server."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    return context


def bearing(token: str) -> bytes:
    """The fields of a call with a token."""
    return block(CONNECT, ("authorization", f"Bearer {token}"))


async def come(address: str, presented: Sequence[str]) -> float:
    """Connect once for each token, some at once; return how many seconds that took."""
    waiting, context = iter(presented), trusting()

    async def one_by_one() -> None:
        for token in waiting:
            attacker = await Attacker.connect(address, ssl=context)
            await attacker.send(request(1, bearing(token)))
            await attacker.until(lambda attacker=attacker: bool(attacker.answered))  # type: ignore[misc]
            if not attacker.answered:
                raise ConnectionError("a client with a valid token was not let in")
            attacker.close()

    began = time.perf_counter()
    await asyncio.gather(*(one_by_one() for _ in range(AT_ONCE)))
    return time.perf_counter() - began


def cpu_s(pid: int) -> float:
    """Return the CPU seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def connections(algorithm: str, key: Any, count: int) -> str:
    """Measure what new connections cost; return a line of the table."""
    presented = tokens(key, algorithm, count + AT_ONCE)
    with guarded(key) as (address, pid):
        asyncio.run(come(address, presented[:AT_ONCE]))
        before = cpu_s(pid)
        seconds = asyncio.run(come(address, presented[AT_ONCE:]))
        each_s = (cpu_s(pid) - before) / count
    missed = "" if 1 / each_s >= GOAL_PER_SECOND else " missed"
    return f"{algorithm:18} {each_s * 1e6:12.0f} {1 / each_s:12.0f} {count / seconds:12.0f}{missed}"


async def _guess(address: str, presented: Count) -> None:
    wrong = bearing(tokens(secrets.token_bytes(32), "HS256", 1)[0])
    attacker = await Attacker.connect(address, ssl=trusting(), local_addr=(_STRANGER, 0))
    due, stream = time.perf_counter(), 1
    while not attacker.over:
        due += _TICK_S
        for _ in range(round(WRONG_PER_SECOND * _TICK_S)):
            await attacker.send(request(stream, wrong, ended=True))
            stream += 2
            presented.value += 1
        await asyncio.sleep(max(0, due - time.perf_counter()))
    raise ConnectionError("the server hung up")


def guess(address: str, presented: Count) -> None:
    """Present wrong tokens for ever, from another address and in a process of its own; count them."""
    asyncio.run(_guess(address, presented))


def lateness(key: Any, seconds: float, *, guessed: bool) -> tuple[float, ...]:
    """Let two talk, while another guesses or not.

    Returns:
        The median, p99 and the worst in milliseconds, wrong tokens a second, and the share of a core that the server
        needed.
    """
    presented: Count = multiprocessing.Value("i", lock=False)
    one, other = tokens(key, "HS256", 2)
    with guarded(key) as (address, pid):
        guesser = multiprocessing.Process(target=guess, args=(address, presented), daemon=True)
        if guessed:
            guesser.start()
        began, before, wrong = time.perf_counter(), cpu_s(pid), presented.value
        late = asyncio.run(talk(address, seconds, [bearing(one), bearing(other)], ssl=trusting()))
        took = time.perf_counter() - began
        share, rate = (cpu_s(pid) - before) / took, (presented.value - wrong) / took
        if guessed:
            if not guesser.is_alive():
                raise ConnectionError("whoever guessed has ended before the others")
            guesser.kill()
            guesser.join()
    p50, p99, worst = (late[int((len(late) - 1) * part)] * 1000 for part in (0.5, 0.99, 1))
    return p50, p99, worst, rate, share


def main() -> None:
    """Measure, and print two tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.entrance", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5, help="how long the two talk")
    parser.add_argument("--clients", type=int, default=1000, help="how many connect")
    parser.add_argument("--rounds", type=int, default=3, help="how often the two talk, without and with the guesser")
    options = parser.parse_args()
    make_certificate()
    allow_files(6000)
    os.sched_setaffinity(0, {int(LOAD_CORE)})
    made = keys()
    print(f"{'new connections':18} {'CPU µs':>12} {'a core: /s':>12} {'here: /s':>12}")
    for algorithm, key in made.items():
        print(connections(algorithm, key, options.clients), flush=True)
    print(f"\n{'wrong tokens':18} {'p50 ms':>12} {'p99 ms':>12} {'worst ms':>12} {'server CPU':>12}")
    found: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(options.rounds):
        for guessed, p99s in found.items():
            p50, p99, worst, rate, share = lateness(made["HS256"], options.seconds, guessed=guessed)
            p99s.append(p99)
            print(
                f"{f'{rate:.0f}/s' if guessed else 'none':18} {p50:12.2f} {p99:12.2f} {worst:12.2f} {share:12.0%}",
                flush=True,
            )
    times = sorted(found[True])[options.rounds // 2] / sorted(found[False])[options.rounds // 2]
    print(f"the median p99 with them is {times:.2f} times that without{' missed' if times > GOAL_TIMES else ''}")


if __name__ == "__main__":
    main()
