"""The short way of an event through aiohttp's lane: its parser, and then what the fast lane does.

For what is plain (see `plain_head`) the router, the middleware and the response objects around
would cost as much as all else together. Whatever isn't goes through the application.
"""

from collections.abc import Awaitable, Callable
from typing import Final, cast

from aiohttp import HttpVersion11, web
from aiohttp.abc import AbstractStreamWriter

from gateway.answer import Answer
from gateway.ingest.authentication import Claims
from gateway.lane_context import FastLane
from gateway.plain_answer import write_answer
from gateway.plain_head import EVENT_PATH, Head
from gateway.refusals import refusal, request_id_of

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


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
        """Answer a request."""
        head = self._head_of(request)
        claims = None if head is None else self._lane.authentication.recall(head.authorization)
        if head is None or claims is None:
            return await self._application(cast(web.Request, request))
        request_id = request_id_of(head.request_id)
        try:
            answer = await self._answer(request.content.read_nowait(), claims, head)
        except Exception as error:
            answer = refusal(error, request_id, "POST", EVENT_PATH)
        return Written(write_answer(answer, request_id, self._lane.open.date, is_last=False))

    def _head_of(self, request: web.BaseRequest) -> Head | None:
        """Return the head of a plain request for one event that is here to its last byte."""
        if (
            request.raw_path != EVENT_PATH
            or request.method != "POST"
            or request.version != HttpVersion11
            or not request.content.is_eof()
        ):
            return None
        return self._lane.heads.read_parsed(request.raw_headers)

    async def _answer(self, body: bytes, claims: Claims, head: Head) -> Answer:
        in_flight = self._lane.in_flight
        party = in_flight.move(None, claims.tenant_id)
        try:
            return await self._lane.ingest.handle_event(body, claims, head.options)
        finally:
            in_flight.move(party, None)
