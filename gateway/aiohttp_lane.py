"""aiohttp's lane: its protocol, with bounds of time, and a quick answer to plain events."""

import asyncio
from http import HTTPStatus
from typing import Any, Final

from aiohttp import StreamReader, web
from aiohttp.http_parser import RawRequestMessage
from aiohttp.web_protocol import RequestHandler

from gateway import metrics
from gateway.ingest.routes import respond
from gateway.problems import http_problem
from gateway.refusals import SERVER, request_id_of
from gateway.short_way import Plain, ShortWay

ABORT_SECONDS: Final = 1.0
"""How long requests that are cut off when the process stops may take to say so."""


class TimedHandler(RequestHandler):
    """aiohttp's protocol, with a bound on the time that a head may take, and an end in order.

    As long as a connection has brought nothing but plain requests for events, they are answered
    here, one behind the other, without the task and the objects that aiohttp makes for each.
    """

    __slots__ = ("_head_seconds", "_head_timer", "_newest_body", "_short_way")

    def __init__(
        self,
        manager: web.Server,
        *,
        head_seconds: float,
        short_way: ShortWay | None = None,
        **options: Any,  # noqa: ANN401 - aiohttp's own
    ) -> None:
        super().__init__(manager, **options)
        self._short_way = short_way
        self._head_seconds = head_seconds
        self._head_timer: asyncio.TimerHandle | None = None
        self._newest_body: StreamReader | None = None

    def data_received(self, data: bytes) -> None:
        """Start the clock at the first byte of a head, and stop it at its end."""
        heads_before = self._request_count
        is_of_a_body = self._newest_body is not None and not self._newest_body.is_eof()
        if self._close and is_of_a_body:
            self._close = False  # aiohttp would read no further, and the handler wait in vain
            super().data_received(data)
            self._close = True
        else:
            super().data_received(data)
        if self._request_count > heads_before:
            self._stop_clock()
            self._newest_body = self._messages[-1][1]  # nobody has taken it in this turn
        elif data and self._head_timer is None and not is_of_a_body:
            self._start_clock()

    async def start(self) -> None:
        """Answer plain requests; at the first other one leave the connection to aiohttp."""
        if self._short_way is not None:
            while (plain := await self._next_plain(self._short_way)) is not None:
                await self._answer_plain(self._short_way, plain)
        if not self._force_close:
            await super().start()

    async def _next_plain(self, short_way: ShortWay) -> Plain | None:
        """Wait for a request; None when it is not plain, or none will come."""
        if self._force_close:
            return None
        if not self._messages:
            self._waiter = self._loop.create_future()
            try:
                await self._waiter  # `close` cancels it, as it does aiohttp's own
            finally:
                self._waiter = None
        message, body = self._messages[0]
        if not isinstance(message, RawRequestMessage):
            return None
        line = message.method, message.path, message.version
        return short_way.plain(line, message.raw_headers, body)

    async def _answer_plain(self, short_way: ShortWay, plain: Plain) -> None:
        """Answer the oldest request."""
        body = self._take_message().read_nowait()
        self._request_in_progress = True
        try:
            answer = await short_way.answer(plain, body, is_last=self._close)
            if self.transport is not None:
                self.transport.write(answer)
                await self._drain_helper()
        except ConnectionError:
            self.force_close()
        except asyncio.CancelledError:
            self.force_close()
            raise
        finally:
            self._request_in_progress = False
            if self._handler_waiter is not None:
                self._handler_waiter.set_result(None)
        if self._close:
            self.force_close()
        self._stay_idle()

    def _stay_idle(self) -> None:
        """Begin the time for which the connection may bring nothing."""
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        if self._keepalive_handle is None and not self._force_close:
            # It fired meanwhile, and found nobody idle.
            self._keepalive_handle = self._loop.call_at(
                self._next_keepalive_close_time, self._process_keepalive
            )

    def _take_message(self) -> StreamReader:
        """Take the oldest request off the queue, and read on if there is room again; its body."""
        assert self._manager is not None, "it is connected"
        self._manager.requests_count += 1
        _, body = self._messages.popleft()
        if self._parser is not None:
            self._parser.message_consumed()
        if self._buffer_paused and len(self._messages) <= self._msg_queue_resume_size:
            self._resume_reading_if_drained()
        return body

    async def shutdown(self, timeout: float | None = 15.0) -> None:  # noqa: ASYNC109 - aiohttp's
        """Let the request in hand end within the time; aiohttp would take it twice."""
        try:
            async with asyncio.timeout(None if timeout is None else timeout + ABORT_SECONDS):
                await super().shutdown(timeout)
        except TimeoutError:
            if self._task_handler is not None:
                self._task_handler.cancel()
            self.force_close()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what is no HTTP with a problem, too, and close."""
        plain = super().handle_error(request, status, exc, message)
        code = HTTPStatus(status).phrase.lower().replace(" ", "_")
        detail = (message or "the request can't be read").partition("\n")[0].rstrip(":")
        request_id = request_id_of(None)
        answer = respond(http_problem(plain.status, code, detail[:200], request_id))
        answer.headers.update({"X-Request-Id": request_id, "Server": SERVER})
        answer.force_close()
        return answer

    def _start_clock(self) -> None:
        self._head_timer = self._loop.call_later(self._head_seconds, self._head_time_is_up)

    def _head_time_is_up(self) -> None:
        if self._request_in_progress:  # it was sent ahead: its time begins with the answer
            self._start_clock()
            return
        self._head_timer = None
        metrics.REQUESTS_TIMED_OUT.labels("head").inc()
        self.force_close()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Stop the clock."""
        self._stop_clock()
        super().connection_lost(exc)

    def _stop_clock(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
