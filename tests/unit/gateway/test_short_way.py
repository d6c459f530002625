"""Which requests take the short way through aiohttp's lane, and which the application's."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import cast

import pytest
from aiohttp import web

from gateway.aiohttp_lane import TimedHandler
from gateway.answer import Answer, json_answer
from gateway.in_flight import InFlight
from gateway.ingest.authentication import Authentication, Claims
from gateway.ingest.budget import Budget
from gateway.ingest.events import Ingest, Options
from gateway.lane_context import FastLane
from gateway.open_connections import Limits
from gateway.plain_head import Heads, read_head
from gateway.short_way import ShortWay
from schemas.errors import InvalidInput

CLAIMS = Claims(
    actor="key 1", tenant_id=7, tenant_ref="", scopes=frozenset(), expires_at=0, api_key_ref="",
    token_id="", password_number=1,
)  # fmt: skip
HEAD = (
    b"POST /api/usage/event HTTP/1.1\r\nHost: x\r\nVersion: V0\r\nAuthorization: Bearer known\r\n"
)
BODY = b'{"quantity":1}'
PLAIN = HEAD + b"Content-Length: 14\r\n\r\n" + BODY


class Caller:
    """Knows one token."""

    def recall(self, authorization: str) -> Claims | None:
        return CLAIMS if authorization == "Bearer known" else None


@dataclass
class Taker:
    """Takes every event but an empty one, once it may."""

    bodies: list[bytes] = field(default_factory=list)
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)
    has_begun: asyncio.Event = field(default_factory=asyncio.Event)
    budget: Budget = field(default_factory=lambda: Budget(1_000, 1.0))

    async def handle_event(self, body: bytes, claims: Claims, _options: Options) -> Answer:
        assert claims is CLAIMS
        if body == b"{}":
            raise InvalidInput("json_malformed", "is empty")
        self.has_begun.set()
        await self.may_answer.wait()
        self.bodies.append(body)
        return json_answer(202, {"taken": len(self.bodies)})


@dataclass
class Served:
    """A client's connection, the events that went the short way, and all other bodies.

    has_begun: once the application has a request.
    """

    server: web.Server
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    taker: Taker
    in_flight: InFlight
    others: list[bytes]
    has_begun: asyncio.Event

    async def answer(self) -> bytes:
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        return head + await self.reader.readexactly(length)

    async def ask(self, request: bytes) -> bytes:
        self.writer.write(request)
        return await self.answer()


@pytest.fixture(params=["by_connection", "by_request"])
async def served(request: pytest.FixtureRequest) -> AsyncIterator[Served]:
    """Serve as a connection that has brought plain requests alone is, and as any other one."""
    async with serving(by_connection=request.param == "by_connection") as served:
        yield served


@asynccontextmanager
async def serving(*, by_connection: bool) -> AsyncIterator[Served]:
    loop = asyncio.get_running_loop()
    taker, in_flight, others = Taker(), InFlight(10, 1.0), list[bytes]()
    taker.may_answer.set()
    has_begun = asyncio.Event()

    async def application(request: web.Request) -> web.StreamResponse:
        has_begun.set()
        others.append(await request.read())
        return web.Response(status=299, text="the application")

    lane = FastLane(
        ingest=cast(Ingest, taker),
        authentication=cast(Authentication, Caller()),
        in_flight=in_flight,
        limits=Limits(head_seconds=60, body_seconds=60, idle_seconds=60, linger_seconds=60),
        other_lane=asyncio.Protocol,
    )
    short_way = ShortWay(lane, application)
    server = web.Server(short_way.handle, auto_decompress=False)

    def connection() -> TimedHandler:
        way = short_way if by_connection else None
        return TimedHandler(
            server, head_seconds=60, short_way=way, loop=loop, auto_decompress=False
        )

    listener = await loop.create_server(connection, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*listener.sockets[0].getsockname()[:2])
    try:
        yield Served(server, reader, writer, taker, in_flight, others, has_begun)
    finally:
        writer.close()
        await writer.wait_closed()
        listener.close()
        await server.shutdown(60)


async def test_a_plain_event_is_answered_without_the_application(served: Served) -> None:
    for number in (1, 2):
        answer = await served.ask(PLAIN.replace(b"\r\n\r\n", b"\r\nX-Request-Id: mine\r\n\r\n"))
        assert answer.startswith(b"HTTP/1.1 202 Accepted\r\n")
        assert b"\r\nX-Request-Id: mine\r\n" in answer
        assert answer.endswith(b'{"taken":%d}' % number)
    assert served.taker.bodies == [BODY, BODY]
    assert served.others == []
    assert served.in_flight.count == 0


async def test_what_is_wrong_with_it_is_a_problem_and_the_connection_goes_on(
    served: Served,
) -> None:
    answer = await served.ask(HEAD + b"Content-Length: 2\r\n\r\n{}")
    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b'"code":"json_malformed"' in answer
    assert served.in_flight.count == 0
    assert b" 202 " in await served.ask(PLAIN)


async def test_too_many_requests_are_refused_on_the_short_way_too(served: Served) -> None:
    for _ in range(10):
        served.in_flight.move(None, CLAIMS.tenant_id)
    assert (await served.ask(PLAIN)).startswith(b"HTTP/1.1 503 ")


@pytest.mark.parametrize(
    "request_bytes",
    [
        PLAIN.replace(b"HTTP/1.1", b"HTTP/1.0"),
        PLAIN.replace(b"POST", b"PUT"),
        PLAIN.replace(b"/event ", b"/event/ "),
        PLAIN.replace(b"/event ", b"/event?atomic=true "),
        PLAIN.replace(b"known", b"unknown"),
        PLAIN.replace(b"V0", b"V1"),
        PLAIN.replace(b"Host", b"Connection: close\r\nHost"),
        PLAIN.replace(b"Host", b"Prefer: wait=1\r\nHost"),
        PLAIN.replace(b"Host", b"Content-Encoding: gzip\r\nHost"),
        HEAD + b"Transfer-Encoding: chunked\r\n\r\ne\r\n" + BODY + b"\r\n0\r\n\r\n",
    ],
    ids=lambda request: repr(request[:150]),
)
async def test_what_is_not_plain_goes_through_the_application(
    served: Served, request_bytes: bytes
) -> None:
    assert (await served.ask(request_bytes)).endswith(b"the application")
    assert served.taker.bodies == []
    assert served.others == [BODY]


async def test_a_body_that_is_still_to_come_is_read_by_the_application(served: Served) -> None:
    served.writer.write(PLAIN[:-1])
    await served.has_begun.wait()
    assert (await served.ask(PLAIN[-1:])).endswith(b"the application")
    assert served.others == [BODY]


async def test_requests_sent_ahead_are_answered_in_their_order_whatever_they_are(
    served: Served,
) -> None:
    other = PLAIN.replace(b"V0", b"V1")
    served.writer.write(PLAIN + PLAIN + other + PLAIN + other)
    answers = [await served.answer() for _ in range(5)]
    taken = [answer.partition(b"\r\n\r\n")[2] for answer in answers]
    assert taken == [
        b'{"taken":1}', b'{"taken":2}', b"the application", b'{"taken":3}', b"the application",
    ]  # fmt: skip


async def test_an_event_in_hand_is_answered_when_the_process_stops(served: Served) -> None:
    served.taker.may_answer.clear()
    served.writer.write(PLAIN + PLAIN)
    await served.taker.has_begun.wait()
    served.server.pre_shutdown()
    stopping = asyncio.create_task(served.server.shutdown(60))
    served.taker.may_answer.set()
    assert (await served.answer()).endswith(b'{"taken":1}')
    assert await served.reader.read() == b"", "what came behind it is left, and the end is seen"
    await stopping
    assert served.in_flight.count == 0


async def test_a_client_that_leaves_is_no_error(served: Served) -> None:
    served.taker.may_answer.clear()
    served.writer.write(PLAIN)
    await served.taker.has_begun.wait()
    served.writer.transport.abort()
    served.taker.may_answer.set()
    async with asyncio.timeout(60):
        while served.in_flight.count or served.server.connections:  # noqa: ASYNC110 - neither tells
            await asyncio.sleep(0)
    assert served.taker.bodies == [BODY], "it may be recorded; nobody hears of it"


def test_headers_that_a_parser_has_read_are_judged_like_the_head_itself() -> None:
    head = HEAD + b"Content-Length: 14\r\n\r\n"
    parsed = tuple(
        (name, value)
        for name, _, value in (line.partition(b": ") for line in head.split(b"\r\n")[1:-2])
    )
    heads = Heads()
    assert heads.read_parsed(parsed) == read_head(head) is not None
    assert heads.read_parsed(parsed) is heads.read_parsed(tuple(parsed))
    assert heads.read_parsed((*parsed, (b"Expect", b"100-continue"))) is None
    assert heads.read_parsed((*parsed, (b"X-Odd", b"\xff"))) is None
    assert heads.read_parsed((*parsed, (b"Content-Length", b"14"))) is None
