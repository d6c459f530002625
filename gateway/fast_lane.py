"""The listening protocol: it answers plain requests for events itself, and hands on the others.

At the first request of a connection that is not plain (see `plain_head`), once all earlier ones
are answered, transport and bytes go to aiohttp's own protocol, for the rest of the connection. So
whatever is unusual is judged in one place, and what is usual costs little: a head is a look-up,
and an event that memory knows all about needs no task, only a callback when its batch settles.

One request of a connection is in hand at a time; what a client sends ahead waits, within a bound.
"""

import asyncio
from typing import Final, cast

from gateway import metrics
from gateway.answer import Answer
from gateway.in_flight import UNVERIFIED
from gateway.ingest.authentication import Claims
from gateway.ingest.events import Read, Started
from gateway.lane_context import FastLane
from gateway.plain_answer import write_answer
from gateway.plain_head import HEAD_BYTES_MAX, PREFIX, Head
from gateway.refusals import refusal, request_id_of
from schemas.errors import InvalidInput

AHEAD_BYTES_MAX: Final = 256 * 1024
"""What a connection may send ahead of its answers before it is read no further."""
_PATHS: Final = ("/api/usage/event", "/api/usage/events")
_HEAD_END: Final = b"\r\n\r\n"


class Connection(asyncio.Protocol):
    """One connection while it is in the fast lane."""

    __slots__ = (
        "_ahead", "_ahead_bytes", "_event", "_has_ended", "_head", "_held", "_is_busy", "_is_last",
        "_is_reading", "_is_scheduled", "_is_writable", "_lane", "_needed", "_open", "_party",
        "_request_id", "_started", "_transport", "ends_at",
    )  # fmt: skip

    def __init__(self, lane: FastLane) -> None:
        """ends_at: when its time is up, on the loop's clock."""
        self._lane = lane
        self._open = lane.open
        self._transport: asyncio.Transport | None = None
        self._ahead: list[bytes] = []
        self._ahead_bytes = 0
        self._needed = 0
        self._head: Head | None = None
        self._held: tuple[int, int] | None = None
        self._party: int | None = None
        self._event: tuple[bytes, Claims] | None = None
        self._started: Started | None = None
        self._request_id = ""
        self._is_busy = False
        self._is_last = False
        self._is_reading = True
        self._is_scheduled = False
        self._is_writable = True
        self._has_ended = False
        self.ends_at = 0.0

    # ------------------------------------------------------------------ the transport's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; a client that never says a word is closed like an idle one."""
        self._transport = cast(asyncio.Transport, transport)
        self.ends_at = self._open.now + self._open.first_seconds
        self._open.add(self)

    def data_received(self, data: bytes) -> None:
        """Take bytes: act when a request is whole, else keep them."""
        if self._is_last and not self._is_busy:
            return  # lingering: the client may finish what nobody reads any more
        if self._ahead or self._is_busy:
            self._ahead.append(data)
            self._ahead_bytes += len(data)
            if self._is_far_ahead():
                self._pause()
            if self._is_busy or self._is_scheduled or self._ahead_bytes < self._needed:
                return
            data = self._take_ahead()
        self._advance(data)

    def eof_received(self) -> bool:
        """Note that the client has said all; it still gets the answer to what is in hand."""
        self._has_ended = True
        return self._is_busy

    def pause_writing(self) -> None:
        """Take no further request while the client doesn't read its answers."""
        self._is_writable = False

    def resume_writing(self) -> None:
        """Go on."""
        self._is_writable = True
        self._go_on_soon()

    def connection_lost(self, error: Exception | None) -> None:
        """Forget the connection; a request in hand goes on, and its answer goes nowhere."""
        self._transport = None
        if not self._is_busy:
            self._give_back()
        self._open.forget(self)

    # ------------------------------------------------------------------ times and ends

    def time_is_up(self) -> None:
        """Close, or refuse what has not come in time."""
        if self._is_busy or self._transport is None:
            self.ends_at = self._open.now + self._open.limits.idle_seconds
        elif self._head is not None and self._needed:
            metrics.REQUESTS_TIMED_OUT.labels("body").inc()
            late = InvalidInput("body_timeout", "the body did not come in time")
            self._refuse(late, is_whole=False)
        else:
            if self._ahead:
                metrics.REQUESTS_TIMED_OUT.labels("head").inc()
            self.abort()  # not `close`, which would wait for a client that doesn't read

    def close_when_idle(self) -> None:
        """Close now, or once the request in hand is answered."""
        if not self._is_busy and self._head is None and self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close whatever is under way."""
        if self._transport is not None:
            self._transport.abort()

    # ------------------------------------------------------------------ from bytes to a request

    def _advance(self, data: bytes) -> None:
        """Look at the bytes after the last answered request; nothing is in hand."""
        if not self._is_writable:
            self._keep(data)
            self._pause()
            return
        end = data.find(_HEAD_END)
        if end < 0:
            self._await_head(data)
            return
        end += len(_HEAD_END)
        head = self._lane.heads.read(data[:end])
        if head is None:
            self._hand_over(data)
            return
        whole = end + head.length
        if len(data) < whole:
            self._await_body(data, head, whole)
            return
        body = data[end:whole]
        if body[:1] != (b"[" if head.is_bulk else b"{"):
            self._hand_over(data)
            return
        self._needed = 0
        if len(data) > whole:
            self._keep(data[whole:])
        self._take(head, body)

    def _await_head(self, data: bytes) -> None:
        """Wait for the rest of a head, unless it is clear already that it won't be plain."""
        if not PREFIX.startswith(data[: len(PREFIX)]) or len(data) > HEAD_BYTES_MAX:
            self._hand_over(data)
            return
        if not self._needed:
            self.ends_at = self._open.now + self._open.limits.head_seconds
        self._keep(data)
        self._needed = len(data) + 1

    def _await_body(self, data: bytes, head: Head, whole: int) -> None:
        """Wait for the rest of a body, once it is known who sends it and that there is room."""
        self._keep(data)
        self._needed = whole
        self._head = head
        self._request_id = request_id_of(head.request_id)
        self.ends_at = self._open.now + self._open.limits.body_seconds
        claims = self._lane.authentication.recall(head.authorization)
        self._hold(head, claims)
        if claims is not None or self._is_last:
            return
        self._is_busy = True
        self._pause()
        self._lane.start(self._verify_sender(head))

    async def _verify_sender(self, head: Head) -> None:
        """Verify a token that memory lacks before its body is read."""
        try:
            claims = await self._lane.authentication.verify(head.authorization)
        except Exception as error:
            self._refuse(error, is_whole=False)
            return
        self._is_busy = False
        if self._transport is None:
            self._give_back()
            return
        self._hold(head, claims)
        if not self._is_last:
            self._go_on()

    def _hold(self, head: Head, claims: Claims | None) -> None:
        """Count a request, and hold the bytes of a known sender's body before they come.

        Refuses it when there is no room.
        """
        if self._held is not None:
            return
        try:
            party = UNVERIFIED if claims is None else claims.tenant_id
            self._party = self._lane.in_flight.move(self._party, party)
            if claims is None:
                return
            self._lane.ingest.budget.take(claims.tenant_id, head.length)
        except Exception as error:
            self._refuse(error, is_whole=False)
        else:
            self._held = (claims.tenant_id, head.length)

    def _keep(self, data: bytes) -> None:
        self._ahead = [data]
        self._ahead_bytes = len(data)

    def _take_ahead(self) -> bytes:
        data = b"".join(self._ahead)
        self._ahead = []
        self._ahead_bytes = 0
        return data

    def _go_on_soon(self) -> None:
        """Take the next request in the loop's next turn: others have theirs between."""
        if not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        """Look at what the client has sent meanwhile."""
        self._is_scheduled = False
        if self._transport is None or self._is_busy or self._is_last:
            return
        if self._ahead and self._ahead_bytes >= self._needed:
            self._advance(self._take_ahead())
        elif self._has_ended:
            self._transport.close()
        self._read_on()

    def _is_far_ahead(self) -> bool:
        """Tell whether the client has sent more than the request that comes, and its share."""
        return self._ahead_bytes > max(AHEAD_BYTES_MAX, self._needed)

    def _read_on(self) -> None:
        """Read again, unless there is a reason not to; each of them ends in `_go_on`."""
        is_sender_unknown = self._is_busy and self._needed
        may_read = self._is_writable and not self._is_far_ahead() and not is_sender_unknown
        if may_read and not self._is_reading and self._transport is not None:
            self._is_reading = True
            self._transport.resume_reading()

    def _pause(self) -> None:
        if self._is_reading and self._transport is not None:
            self._is_reading = False
            self._transport.pause_reading()

    def _hand_over(self, data: bytes) -> None:
        """Give the connection to the other lane, which has answered nothing yet."""
        transport = self._transport
        if transport is None:
            return
        metrics.CONNECTIONS_HANDED_OVER.inc()
        self._give_back()
        self._transport = None
        self._open.forget(self)
        other = self._lane.other_lane()
        transport.set_protocol(other)
        other.connection_made(transport)
        if not self._is_writable:
            other.pause_writing()
        if not self._is_reading:
            transport.resume_reading()
        other.data_received(data)

    # ------------------------------------------------------------------ from a request to an answer

    def _take(self, head: Head, body: bytes) -> None:
        """Take a whole request in hand."""
        lane = self._lane
        if self._head is None:
            self._head = head
            self._request_id = request_id_of(head.request_id)
        self._is_busy = True
        try:
            claims = lane.authentication.recall(head.authorization)
            party = UNVERIFIED if claims is None else claims.tenant_id
            self._party = lane.in_flight.move(self._party, party)
            if claims is None or head.is_bulk:
                lane.start(self._answer_later(head, body))
                return
        except Exception as error:
            self._refuse(error, is_whole=True)
            return
        self._event = (body, claims)
        lane.turn.add(self._start)

    def _start(self) -> None:
        """Take the event in hand as far as its batch."""
        assert self._event is not None, "an event is started once"
        assert self._head is not None, "it has a head"
        body, claims = self._event
        self._event = None
        lane = self._lane
        try:
            started = lane.ingest.start_event(body, claims, self._head.options)
        except Exception as error:
            self._refuse(error, is_whole=True)
            return
        if isinstance(started, Read):
            lane.start(self._answer_later(self._head, body))
            return
        self._started = started
        started.placed.batch.when_settled(self._settled)

    def _settled(self) -> None:
        """Answer for an event whose batch is settled."""
        started = self._started
        assert started is not None, "a batch settles once"
        self._started = None
        ingest = self._lane.ingest
        ingest.give_back(started)
        try:
            answer = ingest.finish_event(started)
        except Exception as error:
            self._refuse(error, is_whole=True)
        else:
            self._answer(answer)

    async def _answer_later(self, head: Head, body: bytes) -> None:
        """Answer a request that may have to wait for more than a batch."""
        ingest = self._lane.ingest
        try:
            claims = await self._lane.authentication.verify(head.authorization)
            self._party = self._lane.in_flight.move(self._party, claims.tenant_id)
            if head.is_bulk:
                if self._held is None:
                    ingest.budget.take(claims.tenant_id, head.length)
                    self._held = (claims.tenant_id, head.length)
                answer = await ingest.handle_events(body, claims, self._request_id, head.options)
            else:
                answer = await ingest.handle_event(body, claims, head.options)
        except Exception as error:
            self._refuse(error, is_whole=True)
        else:
            self._answer(answer)

    def _refuse(self, error: Exception, *, is_whole: bool) -> None:
        """Answer with a problem; what is left of a body can't be told from a next request."""
        assert self._head is not None, "a request is refused once its head is read"
        answer = refusal(error, self._request_id, "POST", _PATHS[self._head.is_bulk])
        if not is_whole:
            self._is_last = True
            self._take_ahead()
        self._answer(answer)

    def _answer(self, answer: Answer) -> None:
        """Write the answer to the request in hand, and turn to the next."""
        self._give_back()
        self._is_busy = False
        self._head = None
        self._needed = 0
        transport = self._transport
        if transport is None:
            return
        is_refused_early = self._is_last
        self._is_last = is_refused_early or self._open.is_stopping
        transport.write(
            write_answer(answer, self._request_id, self._open.date, is_last=self._is_last)
        )
        if self._is_last:
            self._finish(transport, is_refused_early)
        else:
            self.ends_at = self._open.now + self._open.limits.idle_seconds
            if self._ahead or self._has_ended or not self._is_reading:
                self._go_on_soon()

    def _finish(self, transport: asyncio.Transport, is_refused_early: bool) -> None:
        """Close; a client that is still sending gets time to read why it was refused."""
        if not is_refused_early or self._has_ended:
            transport.close()
            return
        self.ends_at = self._open.now + self._open.limits.linger_seconds
        transport.write_eof()
        if not self._is_reading:
            self._is_reading = True
            transport.resume_reading()

    def _give_back(self) -> None:
        """End the hold of the body's bytes in the budget, and the count of the request."""
        self._party = self._lane.in_flight.move(self._party, None)
        if self._held is not None:
            self._lane.ingest.budget.give_back(*self._held)
            self._held = None
