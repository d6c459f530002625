"""The file in a request's body, as it comes: raw or in a form, opened, in bounded pieces."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from typing import Final, TypeVar

from aiohttp import BodyPartReader, web
from aiohttp.http_exceptions import HttpProcessingError

from gateway import metrics
from gateway.uploads.bounds import Bounds
from gateway.uploads.opening import CODINGS, PIECE_BYTES, Opener
from gateway.uploads.reading import Row, Rows
from schemas.errors import InvalidInput, TransientError

FORM: Final = "multipart/form-data"

MEDIA: Final = ("text/csv", FORM)
"""What a body may be."""

UNREADABLE: Final = (web.RequestPayloadError, HttpProcessingError, ValueError, AssertionError)
"""What aiohttp raises of a body or a form that breaks its rules."""

T = TypeVar("T")
Read = Callable[[], Awaitable[bytes]]


async def read_rows(
    request: web.Request, delimiter: str | None, bounds: Bounds
) -> AsyncGenerator[list[Row]]:
    """Yield the file's rows as they come, the header first; an empty list when none is whole.

    Raises InvalidInput where it can't be read further, TransientError when the client is gone.
    """
    rows, opener = Rows(delimiter), Opener()
    read = await _within(bounds, _open(request))
    while data := await _within(bounds, read()):
        for found in _collect(_steps(rows, opener, data)):
            yield found
    for found in _collect(_last_steps(rows, opener)):
        yield found


def _steps(rows: Rows, opener: Opener, data: bytes) -> Iterator[Iterator[Row]]:
    return (rows.feed(piece) for piece in opener.open(data))


def _last_steps(rows: Rows, opener: Opener) -> Iterator[Iterator[Row]]:
    yield from (rows.feed(piece) for piece in opener.finish())
    yield rows.finish()


def _collect(steps: Iterator[Iterator[Row]]) -> Iterator[list[Row]]:
    """Yield the rows of each step, also those before a place that can't be read."""
    found: list[Row] = []
    try:
        for step in steps:
            for row in step:
                found.append(row)  # noqa: PERF402 - what came before an error counts
            yield found
            found = []
    except InvalidInput:
        yield found
        raise


async def _open(request: web.Request) -> Read:
    """Return what reads the next bytes of the file; none at its end. Raises InvalidInput."""
    coding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if coding not in CODINGS:
        raise InvalidInput("encoding_unsupported", "the body may be plain, gzip or zstd")
    if request.content_type == FORM:
        return await _open_form(request)
    if "json" in request.content_type or "cloudevents" in request.content_type:
        detail = "an upload is CSV, raw or in a form; POST /api/usage/events takes JSON"
        raise InvalidInput("media_type_unsupported", detail)
    return request.content.readany


async def _open_form(request: web.Request) -> Read:
    """Return what reads the one part of a form."""
    form = await request.multipart()
    part = await form.next()
    if not isinstance(part, BodyPartReader):
        raise InvalidInput("body_malformed", "the form must have one part, the file")

    async def read() -> bytes:
        data = await part.read_chunk(PIECE_BYTES)
        if not data and await form.next() is not None:
            detail = "the form must have one part, the file; options stand in the query"
            raise InvalidInput("body_malformed", detail)
        return data

    return read


async def _within(bounds: Bounds, reading: Awaitable[T]) -> T:
    """Wait for what comes next, within the time that a client may be silent."""
    try:
        async with bounds.waiting():
            return await reading
    except TimeoutError:
        bounds.check()
        metrics.REQUESTS_TIMED_OUT.labels("body").inc()
        raise InvalidInput("body_timeout", "the client was silent for too long") from None
    except OSError as error:
        raise TransientError("connection_lost", "the connection broke") from error
    except UNREADABLE as error:
        detail = "the body breaks off, or its form can't be read"
        raise InvalidInput("body_malformed", detail) from error
