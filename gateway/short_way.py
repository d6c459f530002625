"""The short way of an event through aiohttp's lane: its parser, and then what the fast lane does.

For what is plain (see `plain_head`) the router, the middleware and the response objects around
would cost as much as all else together. Whatever isn't goes through the application.
"""

from collections.abc import Awaitable, Callable
from typing import Final, cast

from aiohttp import HttpVersion, HttpVersion11, StreamReader, web
from aiohttp.abc import AbstractStreamWriter

from gateway.answer import Answer
from gateway.ingest.authentication import Claims
from gateway.lane_context import FastLane
from gateway.plain_answer import write_answer
from gateway.plain_head import EVENT_PATH, Head, ParsedHeaders
from gateway.refusals import refusal, request_id_of

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_PLAIN_LINE: Final = ("POST", EVENT_PATH, HttpVersion11)

Plain = tuple[Head, Claims]
"""A plain request: its head, and who sends it."""


class Written(web.StreamResponse):
    """An answer that is written already; nothing of what aiohttp's own would keep is made."""

    keep_alive: Final = True  # a property there

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._writer: AbstractStreamWriter | None = None

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Learn where it goes."""
        self._writer = request.writer
        return self._writer

    async def write_eof(self, data: bytes = b"") -> None:
        """Send it; wait while the client doesn't read its answers. Raises ConnectionError."""
        assert self._writer is not None, "it is prepared"
        await self._writer.write(self._data)
        await self._writer.drain()


class ShortWay:
    """Takes every request that aiohttp has read; passes on to the application what isn't plain."""

    def __init__(self, lane: FastLane, application: Handler) -> None:
        self._lane = lane
        self._application = application

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request of a connection that is not only for plain ones."""
        line = request.method, request.raw_path, request.version
        plain = self.plain(line, request.raw_headers, request.content)
        if plain is None:
            return await self._application(cast(web.Request, request))
        return Written(await self.answer(plain, request.content.read_nowait(), is_last=False))

    def plain(
        self,
        line: tuple[str, str, HttpVersion],
        headers: ParsedHeaders,
        body: StreamReader,
    ) -> Plain | None:
        """Return what a request is when it is a plain one for one event, here to its last byte.

        line: the first one, as verb, path and version.
        """
        if line != _PLAIN_LINE or not body.is_eof():
            return None
        head = self._lane.heads.read_parsed(headers)
        claims = None if head is None else self._lane.authentication.recall(head.authorization)
        return None if head is None or claims is None else (head, claims)

    async def answer(self, plain: Plain, body: bytes, *, is_last: bool) -> bytes:
        """Return the answer to a plain request as it is written. is_last: the connection's last."""
        head, claims = plain
        request_id = request_id_of(head.request_id)
        try:
            answer = await self._answer(body, claims, head)
        except Exception as error:
            answer = refusal(error, request_id, "POST", EVENT_PATH)
        return write_answer(answer, request_id, self._lane.open.date, is_last=is_last)

    async def _answer(self, body: bytes, claims: Claims, head: Head) -> Answer:
        in_flight = self._lane.in_flight
        party = in_flight.move(None, claims.tenant_id)
        try:
            return await self._lane.ingest.handle_event(body, claims, head.options)
        finally:
            in_flight.move(party, None)
