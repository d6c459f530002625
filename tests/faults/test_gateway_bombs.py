"""Bodies made to hurt: refused by name, while the loop turns and the memory stays flat.

The gateway runs in this process, so that a probe in its loop can tell how much work was done
between two turns, in CPU time, whatever else the machine has to do.
"""

import asyncio
import gzip
import http.client
import os
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from time import thread_time

import cramjam
import pytest
import pytest_asyncio

from gateway.__main__ import serve
from gateway.settings import GatewaySettings
from runtime.settings import load
from tests.integration.gateway.conftest import Site, new_site
from tests.own_servers import resident_bytes

#: aiohttp would rather have keys with types for what a request carries.
pytestmark = pytest.mark.filterwarnings("ignore::aiohttp.web.NotAppKeyWarning")

MIB = 1024 * 1024
ATTACKERS = 3
TRIES = 5
TURN_SECONDS_MAX = 0.1
"""Of CPU time. Neighbours share the machine's caches, so that the same work may take several times
as long: the best of the tries counts."""

GROWTH_BYTES_MAX = 96 * MIB

EMPTY = gzip.compress(b"[]")
BRACKETS = b"[" * (2 * MIB)
LARGE = b'{"a":[' + b"1," * 30_000 + b"1]}"
WIDE_ROW = b"," * 130_000


def zstd(data: bytes) -> bytes:
    return bytes(cramjam.zstd.compress(data))


@dataclass(frozen=True)
class Bomb:
    """A body, what its head says of it, and the answer: its status and the first code in it."""

    status: int
    code: str
    body: bytes
    encoding: str = "identity"
    media_type: str = "application/json"


def bombs() -> dict[str, Bomb]:
    """Make all bodies; it takes a second."""
    return {
        "gzip": Bomb(413, "body_too_large", gzip.compress(bytes(200 * MIB)), "gzip"),
        "zstd": Bomb(413, "body_too_large", zstd(bytes(200 * MIB)), "zstd"),
        "gzip members": Bomb(400, "body_malformed", EMPTY * 100_000, "gzip"),
        "zstd frames": Bomb(413, "body_too_large", zstd(bytes(9 * MIB)) * 1_000, "zstd"),
        "gzip in gzip": Bomb(415, "encoding_unsupported", gzip.compress(EMPTY), "gzip, gzip"),
        "brotli": Bomb(415, "encoding_unsupported", b"\x0b\x02\x80", "br"),
        "cut short": Bomb(400, "body_malformed", gzip.compress(bytes(9 * MIB))[:-20], "gzip"),
        "numbers": Bomb(413, "too_many_events", b"[" + b"1," * (5 * MIB - 2) + b"1]"),
        "objects": Bomb(413, "too_many_events", b"[" + b"{}," * (3 * MIB) + b"{}]"),
        "large events": Bomb(202, "required", b"[" + b",".join([LARGE] * 150) + b"]"),
        "brackets": Bomb(400, "json_too_deep", BRACKETS),
        "packed brackets": Bomb(400, "json_too_deep", gzip.compress(BRACKETS), "gzip"),
        "lines": Bomb(413, "too_many_events", b"{}\n" * (3 * MIB)),
        "blank lines": Bomb(202, "required", b"{}" + b"\n" * (9 * MIB)),
        "wide header": Bomb(400, "body_malformed", b"a," * (5 * MIB - 1), media_type="text/csv"),
        "wide rows": Bomb(
            202, "row_malformed", b"quantity\n" + (WIDE_ROW + b"\n") * 75, media_type="text/csv"
        ),
        "row of lines": Bomb(
            400, "body_malformed", b"quantity\n" + b'"\n",' * (2 * MIB), media_type="text/csv"
        ),
        "blank rows": Bomb(
            413, "too_many_events", b"quantity\n" + b"\n" * (9 * MIB), media_type="text/csv"
        ),
    }


@dataclass
class Probe:
    """The most work that the loop's thread did in one turn, in seconds of CPU time."""

    longest_turn: float = 0.0
    turns: int = 0

    async def run(self) -> None:
        before = thread_time()
        while True:
            await asyncio.sleep(0)
            now = thread_time()
            self.longest_turn = max(self.longest_turn, now - before)
            self.turns += 1
            before = now


@contextmanager
def probing() -> Iterator[Probe]:
    probe = Probe()
    task = asyncio.get_running_loop().create_task(probe.run())
    try:
        yield probe
    finally:
        task.cancel()


@pytest_asyncio.fixture
async def site(stack_env: dict[str, str]) -> AsyncIterator[Site]:
    """Serve in this process; a tenant with a client logged in."""
    settings = load(GatewaySettings, "gateway", stack_env | {"METERLINE_GATEWAY_PORT": "0"})
    async with (
        serve(settings, asyncio.Event()) as port,
        new_site(
            f"http://127.0.0.1:{port}",
            stack_env["METERLINE_KAFKA"],
            stack_env["METERLINE_POSTGRES"],
            stack_env["METERLINE_TOPIC_PREFIX"],
        ) as made,
    ):
        yield made


def throw(site: Site, bomb: Bomb) -> tuple[int, str]:
    """Send a bomb on a connection of its own, from a thread; the status and the code."""
    connection = http.client.HTTPConnection(site.url.removeprefix("http://"), timeout=60)
    headers = {"Content-Encoding": bomb.encoding, "Content-Type": bomb.media_type}
    try:
        with suppress(BrokenPipeError, ConnectionResetError):  # refused before it was all sent
            connection.request("POST", "/api/usage/events", bomb.body, site.headers | headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        return answer.status, text.partition('"code":"')[2].partition('"')[0]
    finally:
        connection.close()


async def test_bombs_are_refused_while_the_loop_turns_and_the_memory_is_flat(site: Site) -> None:
    before = await refused_so_far(site)
    thrown: Counter[str] = Counter()
    slow: dict[str, list[float]] = {}
    made = bombs()
    for name, bomb in made.items():
        turns: list[float] = []
        while len(turns) < TRIES and min(turns, default=TURN_SECONDS_MAX) >= TURN_SECONDS_MAX:
            turns.append(await throw_several(site, name, bomb))
            thrown[bomb.code] += ATTACKERS
        if min(turns) >= TURN_SECONDS_MAX:
            slow[name] = turns
    assert slow == {}
    after = await refused_so_far(site)
    for code in {bomb.code for bomb in made.values() if bomb.status != 202}:
        assert after[code] - before[code] == thrown[code], code


async def throw_several(site: Site, name: str, bomb: Bomb) -> float:
    """Throw a bomb from several clients at once; the most work that was done in one turn."""
    memory = resident_bytes(os.getpid())
    with probing() as probe:
        thrown = [asyncio.to_thread(throw, site, bomb) for _ in range(ATTACKERS)]
        answers = set(await asyncio.gather(*thrown))
        await site.take(site.event())
    assert answers == {(bomb.status, bomb.code)}, name
    assert resident_bytes(os.getpid()) - memory < GROWTH_BYTES_MAX, name
    return probe.longest_turn


async def refused_so_far(site: Site) -> Counter[str]:
    """Read what was refused, by its reason."""
    async with site.session.get(f"{site.url}/metrics") as answer:
        page = await answer.text()
    name = re.compile(r'gateway_events_rejected_total\{reason="(\w+)"\} (\S+)')
    return Counter({reason: int(float(count)) for reason, count in name.findall(page)})
