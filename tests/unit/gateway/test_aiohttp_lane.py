"""aiohttp's connections end with the process: what has begun is finished, within a bound."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from gateway.aiohttp_lane import TimedHandler

HEAD = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n"
Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@dataclass
class Served:
    """A client's connection to a server."""

    server: web.Server
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


@dataclass
class Echo:
    """Answers with the body. has_begun: once it waits for one."""

    has_begun: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        self.has_begun.set()
        return web.Response(body=await request.read())


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[Served]:
    loop = asyncio.get_running_loop()
    server = web.Server(handler)
    listener = await loop.create_server(
        lambda: TimedHandler(server, head_seconds=60, loop=loop, access_log=None), "127.0.0.1", 0
    )
    reader, writer = await asyncio.open_connection(*listener.sockets[0].getsockname()[:2])
    try:
        yield Served(server, reader, writer)
    finally:
        writer.close()
        await writer.wait_closed()
        listener.close()
        await listener.wait_closed()


async def test_a_body_that_has_begun_is_read_to_its_end_while_the_process_stops() -> None:
    echo = Echo()
    async with serving(echo) as served:
        served.writer.write(HEAD + b"ab")
        await echo.has_begun.wait()
        served.server.pre_shutdown()
        stopping = asyncio.create_task(served.server.shutdown(60))
        served.writer.write(b"cd")
        answer = await served.reader.read()
        await stopping
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b"\r\n\r\nabcd")


async def test_an_idle_connection_is_closed_at_once() -> None:
    async with serving(Echo()) as served:
        served.writer.write(HEAD + b"abcd")
        assert (await served.reader.readuntil(b"abcd")).startswith(b"HTTP/1.1 200 ")
        served.server.pre_shutdown()
        await served.server.shutdown(60)
        assert await served.reader.read() == b""


async def test_a_request_that_never_ends_is_cut_off_when_the_time_is_up() -> None:
    has_begun = asyncio.Event()

    async def hang(_request: web.BaseRequest) -> web.StreamResponse:
        has_begun.set()
        await asyncio.Event().wait()
        raise AssertionError

    async with serving(hang) as served:
        served.writer.write(HEAD + b"abcd")
        await has_begun.wait()
        served.server.pre_shutdown()
        await served.server.shutdown(0.01)
        assert await served.reader.read() == b""


async def test_what_is_no_http_is_answered_with_a_problem_and_the_connection_closes() -> None:
    async with serving(Echo()) as served:
        served.writer.write(b"GET /" + b"a" * 10_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        head, _, body = (await served.reader.read()).partition(b"\r\n\r\n")
    assert head.split()[1] == b"400"
    assert b"Content-Type: application/problem+json" in head
    problem = json.loads(body)
    assert (problem["status"], problem["code"]) == (400, "bad_request")
    assert len(problem["detail"]) <= 200
