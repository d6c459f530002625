"""The client for code without an event loop: a bridge to the other one on a thread of its own."""

import asyncio
import atexit
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator
from types import TracebackType
from typing import Any, BinaryIO, Self, TypeVar

from meterline_client.aio import DEFAULT_LIMITS, AsyncClient
from meterline_client.delivery import Delivery
from meterline_client.errors import ClientClosed
from meterline_client.events import EncodedEvent, Event
from meterline_client.limits import Limits
from meterline_client.names import Names
from meterline_client.outcomes import Counts, Outcome, Report
from meterline_client.stream import Item, chunks

T = TypeVar("T")


class Client:
    """Sends usage events: batched, retried with the same keys, each to exactly one outcome.

    Safe to use from several threads, each method as in `AsyncClient`:

        with Client("https://billing.example", "my-key", "my-password") as client:
            report = client.send_many(events)
            for failure in report.failures:
                print(failure)

    The program's end closes a client that is still open. A forked child must make its own.
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
        """Start the thread; the first request logs in.

        on_progress: called on that thread with the ledger whenever events get their outcomes.
        Raises ValueError when the URL is none.
        """
        self._limits = limits
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="meterline-client", daemon=True
        )
        self._thread.start()
        self._closing = threading.Lock()
        self._is_closed = False
        try:
            self._client = self._call(_make(url, api_key, password, limits, on_progress))
        except BaseException:
            self._stop()
            raise
        atexit.register(self.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self, seconds: float | None = None) -> Counts:
        """Take no more events, wait for those under way, and return the final ledger."""
        with self._closing:
            if not self._is_closed:
                atexit.unregister(self.close)
                self._call(self._client.close(seconds))
                self._is_closed = True
                self._stop()
        return self.counts

    @property
    def counts(self) -> Counts:
        """The ledger as it stands."""
        return self._client.counts

    def send(self, event: Event | EncodedEvent) -> Delivery:
        """Hand an event in, waiting while the queue is full; ask its `result()` for the outcome."""
        return self._call(self._client.send(event))

    def send_nowait(self, event: Event | EncodedEvent) -> Delivery:
        """Hand an event in, or raise QueueFull."""
        return self._call(_run(self._client.send_nowait, event))

    def send_many(self, events: Iterable[Item]) -> Report:
        """Send events, as many as there are, and return what became of them."""
        report = Report(failures=[])
        for outcome in self.stream(events):
            report.add(outcome)
        return report

    def stream(self, events: Iterable[Item]) -> Iterator[Outcome]:
        """Send events and yield their outcomes in the events' order; read in this thread."""
        row = self._client.row()
        for chunk in chunks(events):
            yield from self._call(row.push(chunk))
        while outcomes := self._call(row.more()):
            yield from outcomes

    def flush(self, seconds: float | None = None) -> None:
        """Wait until every event handed in before has its outcome; raise TimeoutError after it."""
        self._call(self._client.flush(seconds))

    def send_and_wait(self, event: Event | EncodedEvent, seconds: int = 10) -> Any:  # noqa: ANN401 - JSON
        """Send one event past the queue and wait until it is rated; return the answer."""
        return self._call(self._client.send_and_wait(event, seconds))

    def update(self, event_ref: str, **fields: object) -> Any:  # noqa: ANN401 - JSON
        """Change an event, and return it as it will be."""
        return self._call(self._client.update(event_ref, **fields))

    def delete(self, event_ref: str, note: str | None = None) -> None:
        """Let an event count no more; one that is deleted already is left as it is."""
        self._call(self._client.delete(event_ref, note))

    def login(self) -> None:
        """Log in now rather than with the first request. Raises LoginFailed, Unavailable."""
        self._call(self._client.login())

    def names(self) -> Names:
        """Load the names of all customers and meters, to send events by them."""
        return self._call(self._client.names())

    def request(self, method: str, path: str, body: object = None, **query: object) -> Any:  # noqa: ANN401 - JSON
        """Send any request of the API and return its JSON, fractions as Decimal."""
        return self._call(self._client.request(method, path, body, **query))

    def upload(
        self,
        file: BinaryIO,
        *,
        key: str | None = None,
        on_progress: Callable[[int], None] | None = None,
        **options: str,
    ) -> Any:  # noqa: ANN401 - JSON
        """Stream a CSV file of usage, plain or packed, and return the report of its rows."""
        return self._call(self._client.upload(file, key=key, on_progress=on_progress, **options))

    def fetch(self, method: str, path: str) -> tuple[int, bytes]:
        """Send a request once; return its status and bytes whatever they are: for files."""
        answer = self._call(self._client.fetch(method, path))
        return answer.status, answer.body

    # ------------------------------------------------------------------ the bridge

    def _call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the thread and wait for its result."""
        if threading.current_thread() is self._thread or self._loop.is_closed():
            coroutine.close()
            if self._loop.is_closed():
                raise ClientClosed("the client is closed")
            raise RuntimeError("on_progress must not call its client: it would wait for itself")
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _make(
    url: str,
    api_key: str,
    password: str,
    limits: Limits,
    on_progress: Callable[[Counts], None] | None,
) -> AsyncClient:
    client = AsyncClient(url, api_key, password, limits=limits, on_progress=on_progress)
    await client.open()
    return client


async def _run(function: Callable[..., T], *arguments: object) -> T:
    return function(*arguments)
