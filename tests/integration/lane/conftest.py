"""Two gateways on one log, with the fast lane and without, and a way to talk to them in bytes."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass

import pytest
import pytest_asyncio

from tests.ground import NewGround
from tests.integration.gateway.conftest import Site, log_in, new_site
from tests.processes import Service, running

#: Generous to a loaded machine, and short enough to wait for.
TIMES = {
    "METERLINE_GATEWAY_HEAD_READ_SECONDS": "4",
    "METERLINE_GATEWAY_BODY_READ_SECONDS": "4",
}
_CHANGING = re.compile(rb"(Date|X-Request-Id|Content-Length|Server|RateLimit): [^\r]*\r\n")
_INSTANCE = re.compile(rb'"instance":"[^"]*"')


class Talk:
    """One connection, spoken over in bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def answer(self) -> bytes:
        """Read one answer; empty when the connection ends first."""
        async with asyncio.timeout(60):
            try:
                head = await self.reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"(?i)content-length: (\d+)", head)
                return head + await self.reader.readexactly(int(length[1]) if length else 0)
            except (asyncio.IncompleteReadError, ConnectionResetError):
                return b""

    async def is_closed(self) -> bool:
        """Read to the end."""
        async with asyncio.timeout(60):
            try:
                return await self.reader.read() == b""
            except ConnectionResetError:
                return True

    async def close(self) -> None:
        self.writer.close()
        with suppress(OSError):
            await self.writer.wait_closed()


@dataclass
class LaneSite:
    """A gateway of one lane, with a client."""

    site: Site
    service: Service

    async def talk(self, data: bytes = b"") -> Talk:
        talk = Talk(*await asyncio.open_connection("127.0.0.1", self.service.port))
        talk.writer.write(data)
        return talk

    async def answers(self, data: bytes, count: int = 1) -> list[bytes]:
        """Send bytes on a connection of their own and read so many answers."""
        talk = await self.talk(data)
        try:
            return [await talk.answer() for _ in range(count)]
        finally:
            await talk.close()

    def head(self, *more: str, path: str = "/api/usage/event", length: int | None = None) -> bytes:
        """Write the head of a good request, with other header lines at its end."""
        lines = [
            f"POST {path} HTTP/1.1",
            "Host: gateway",
            f"Authorization: {self.site.headers['Authorization']}",
            "Version: V0",
            *([] if length is None else [f"Content-Length: {length}"]),
            *more,
        ]
        return "\r\n".join(lines).encode() + b"\r\n\r\n"

    def request(self, *more: str, **fields: object) -> bytes:
        """Write a good request for one event."""
        body = json.dumps(self.site.event(**fields)).encode()
        return self.head(*more, length=len(body)) + body

    async def metric(self, name: str) -> float:
        """Read one sample of the gateway's metrics; 0 when it was never counted."""
        async with self.site.session.get(f"{self.site.url}/metrics") as answer:
            for line in (await answer.text()).splitlines():
                if line.startswith(f"{name} "):
                    return float(line.rpartition(" ")[2])
        return 0.0


def status(answer: bytes) -> int:
    """Return an answer's status, 0 when there was none."""
    return int(answer.split(b" ", 2)[1]) if answer else 0


def comparable(answer: bytes) -> bytes:
    """Return an answer without what differs from one to the next, its length included."""
    return _INSTANCE.sub(b"", _CHANGING.sub(b"", answer))


@dataclass
class Lanes:
    fast: LaneSite
    aiohttp: LaneSite


@pytest_asyncio.fixture(scope="session")
async def lanes(new_ground: NewGround) -> AsyncIterator[Lanes]:
    """Run a gateway with the fast lane and one without, with the same tenant."""
    async with new_ground("lane") as ground:
        fast = ground.service("gateway", **TIMES)
        other = ground.service("gateway", **TIMES, METERLINE_GATEWAY_FAST_LANE="false")
        with running(fast, other):
            fast.start()
            other.start()
            where = (ground.kafka, ground.postgres, ground.topic_prefix)
            async with new_site(fast.url, *where) as site:
                await log_in(site.session, other.url, site.api_key)
                twin = Site(**(vars(site) | {"url": other.url}))
                yield Lanes(LaneSite(site, fast), LaneSite(twin, other))


@pytest.fixture(params=["fast", "aiohttp"])
def lane(request: pytest.FixtureRequest, lanes: Lanes) -> LaneSite:
    """Give each lane in turn."""
    found: LaneSite = getattr(lanes, request.param)
    return found
