"""The client for asyncio."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping
from concurrent.futures import Future
from decimal import Decimal
from types import TracebackType
from typing import Any, BinaryIO, Final, Self
from urllib.parse import urlencode

import msgspec

from meterline_client.delivery import Delivery
from meterline_client.errors import RequestRefused, Unavailable
from meterline_client.events import EncodedEvent, Event, check_exact, encode_event
from meterline_client.limits import Limits
from meterline_client.names import Names, load_names
from meterline_client.outcomes import Counts, Outcome, Report
from meterline_client.retry import wait_seconds
from meterline_client.sender import Sender
from meterline_client.stream import InOrder, Item, achunks
from meterline_client.transport import HEADERS, Answer, NoAnswer, Transport
from meterline_client.uploads import OnBytes, Upload
from meterline_client.verdict import RETRIED, is_final, refusal

DEFAULT_LIMITS: Final = Limits()
SERVER_ERROR: Final = 500
DELETED_ALREADY: Final = "event_deleted"

_decode: Final = msgspec.json.Decoder(float_hook=Decimal).decode


class AsyncClient:
    """Sends usage events: batched, retried with the same keys, each to exactly one outcome.

    An event is a mapping with the fields of the HTTP API. One without an `idempotency_key` gets
    one, so that a retry never counts twice. To be used as a context manager, which waits for
    what is under way at its end:

        async with AsyncClient("https://billing.example", "my-key", "my-password") as client:
            delivery = await client.send(
                {
                    "timestamp": datetime.now(UTC),
                    "customer_ref": "0b1e…",
                    "usage_product_ref": "77aa…",
                    "quantity": Decimal("12.5"),
                    "idempotency_key": "order-4711",
                }
            )
            outcome = await delivery  # Accepted, Rejected or Unknown
    """

    def __init__(
        self,
        url: str,
        api_key: str,
        password: str,
        *,
        limits: Limits = DEFAULT_LIMITS,
        on_progress: Callable[[Counts], None] | None = None,
    ) -> None:
        """Connect to nothing yet.

        on_progress: called on the event loop with the ledger whenever events get their outcomes.
        Raises ValueError when the URL is none.
        """
        self._limits = limits
        self._transport = Transport(url, api_key, password, limits)
        self._sender = Sender(self._transport, limits, on_progress)

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def open(self) -> None:
        """Make ready; the first request logs in."""
        await self._transport.open()

    async def close(self, seconds: float | None = None) -> Counts:
        """Take no more events, wait for those under way, and return the final ledger.

        seconds: how long to wait, by default `limits.close_seconds`; then what is left becomes
        Unknown. Closing twice does nothing more.
        """
        await self._sender.close(self._limits.close_seconds if seconds is None else seconds)
        await self._transport.close()
        return self.counts

    @property
    def counts(self) -> Counts:
        """The ledger as it stands."""
        return self._sender.counts

    # ------------------------------------------------------------------ events

    async def send(self, event: Event | EncodedEvent) -> Delivery:
        """Hand an event in, waiting while the queue is full; await the answer for its outcome.

        Raises TypeError for what can't be sent exactly, and ClientClosed.
        """
        encoded, future = encode_event(event), Future[Outcome]()
        await self._sender.put(encoded, future)
        return Delivery(encoded.key, future)

    def send_nowait(self, event: Event | EncodedEvent) -> Delivery:
        """Hand an event in, or raise QueueFull; else as `send`."""
        encoded, future = encode_event(event), Future[Outcome]()
        self._sender.put_nowait(encoded, future)
        return Delivery(encoded.key, future)

    async def send_many(self, events: Iterable[Item] | AsyncIterable[Item]) -> Report:
        """Send events, as many as there are, and return what became of them.

        A stream is read as it can be sent: memory stays bounded.
        """
        report = Report(failures=[])
        async for outcome in self.stream(events):
            report.add(outcome)
        return report

    async def stream(self, events: Iterable[Item] | AsyncIterable[Item]) -> AsyncIterator[Outcome]:
        """Send events and yield their outcomes, in the events' order.

        Nothing is sent before the outcomes are asked for. A Rejected among the events comes out
        in its place.
        """
        row = self.row()
        async for chunk in achunks(events):
            for outcome in await row.push(chunk):
                yield outcome
        while outcomes := await row.more():
            for outcome in outcomes:
                yield outcome

    def row(self) -> InOrder:
        """Return a fresh row of events: what `stream` is made of."""
        return InOrder(self._sender, self._limits)

    async def flush(self, seconds: float | None = None) -> None:
        """Wait until every event handed in before has its outcome.

        Raises TimeoutError after that time; what is under way stays under way.
        """
        async with asyncio.timeout(seconds):
            await self._sender.flush()

    async def send_and_wait(self, event: Event | EncodedEvent, seconds: int = 10) -> Any:  # noqa: ANN401 - JSON
        """Send one event past the queue and wait until it is rated, at most 30 s.

        Returns the answer, fractions as Decimal: with `outcome`, `charges` and their amounts when
        it was rated in time, without them when it is only taken. The ledger does not count it.
        Raises RequestRefused, LoginFailed, Unavailable, and TypeError as `send`.
        """
        headers = {"Prefer": f"wait={seconds}"}
        patience = self._limits.request_seconds + seconds
        body = encode_event(event).body
        return await self._ask("POST", "/api/usage/event", body, headers, patience)

    async def update(self, event_ref: str, **fields: object) -> Any:  # noqa: ANN401 - JSON
        """Change an event, and return it as it will be, fractions as Decimal.

        fields: `timestamp`, `quantity`, `additional_report_data`, which is replaced whole, and a
        `note`; what is left out stays. Raises RequestRefused, LoginFailed, Unavailable, and
        TypeError as `send`.
        """
        check_exact(fields)
        return await self.request(
            "POST", "/api/usage/event/update", {"event_ref": event_ref, **fields}
        )

    async def delete(self, event_ref: str, note: str | None = None) -> None:
        """Let an event count no more; one that is deleted already is left as it is.

        Raises RequestRefused, LoginFailed, Unavailable.
        """
        body = {} if note is None else {"note": note}
        try:
            await self.request("DELETE", f"/api/usage/event/{event_ref}", body)
        except RequestRefused as refused:
            if refused.code != DELETED_ALREADY:
                raise

    # ------------------------------------------------------------------ the rest of the API

    async def login(self) -> None:
        """Log in now rather than with the first request: to learn early that the key is wrong.

        Raises LoginFailed, Unavailable.
        """
        try:
            await self._transport.token()
        except NoAnswer as error:
            raise Unavailable(error.reason) from error

    async def names(self) -> Names:
        """Load the names of all customers and meters, to send events by them."""
        return await load_names(self.request)

    async def request(self, method: str, path: str, body: object = None, **query: object) -> Any:  # noqa: ANN401 - JSON
        """Send any request of the API and return its JSON, fractions as Decimal.

        Repeated until `limits.deadline_seconds` while the server is away, a POST under one
        Idempotency-Key. Raises RequestRefused, LoginFailed, Unavailable.
        """
        if query:
            path = f"{path}?{urlencode(query)}"
        headers = {} if method == "GET" else {"Idempotency-Key": str(uuid.uuid4())}
        content = None if body is None else msgspec.json.encode(body)
        return await self._ask(method, path, content, headers, self._limits.request_seconds)

    async def _ask(
        self,
        method: str,
        path: str,
        content: bytes | None,
        headers: Mapping[str, str],
        seconds: float,
    ) -> Any:  # noqa: ANN401 - JSON
        """Send a request until it is answered for good, each time for at most so many seconds."""
        deadline = time.monotonic() + self._limits.deadline_seconds
        headers = {**HEADERS, **headers}
        tried = 0
        while True:
            answer, reason = None, ""
            try:
                answer = await self._transport.fetch(
                    method, path, content, seconds=seconds, headers=headers
                )
            except NoAnswer as error:
                reason, retry_after = error.reason, error.retry_after
            else:
                if is_final(answer.status):
                    raise refusal(answer.status, answer.body)
                if answer.status not in RETRIED and answer.status < SERVER_ERROR:
                    return _decode(answer.body) if answer.body else None
                reason, retry_after = str(refusal(*answer[:2])), answer.retry_after
            tried += 1
            await self._pause(tried, retry_after, deadline, reason)

    async def _pause(self, tried: int, retry_after: float, deadline: float, reason: str) -> None:
        """Wait before a further try. Raises Unavailable when there is no time for one."""
        limits = self._limits
        first, longest = limits.backoff_seconds, limits.backoff_seconds_max
        seconds = wait_seconds(tried, retry_after, first=first, longest=longest)
        if time.monotonic() + seconds > deadline:
            raise Unavailable(reason)
        await asyncio.sleep(seconds)

    async def upload(
        self,
        file: BinaryIO,
        *,
        key: str | None = None,
        on_progress: OnBytes | None = None,
        **options: str,
    ) -> Any:  # noqa: ANN401 - JSON
        """Stream a CSV file of usage, plain or packed, and return the report of its rows.

        key: names the file, so that rows without keys get theirs of it and none counts twice
        however often it is sent; by default its digest, where it can be read twice. options:
        `map`, `other_columns`, `delimiter`, `format_name`. on_progress: told how many bytes are
        sent, on the event loop; fewer again when the file has to be sent again.
        Raises RequestRefused, LoginFailed, Unavailable.
        """
        upload = Upload(
            self._transport,
            self._limits,
            file,
            key=key,
            options=options,
            on_progress=on_progress,
        )
        return _decode(await upload.run())

    async def fetch(self, method: str, path: str) -> Answer:
        """Send a request once; return its status and bytes whatever they are: for files.

        Raises LoginFailed, Unavailable.
        """
        try:
            return await self._transport.fetch(method, path, seconds=self._limits.request_seconds)
        except NoAnswer as error:
            raise Unavailable(error.reason) from error
