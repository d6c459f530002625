"""Rows to events to the log: each row gets its outcome once, whatever has to be tried again.

A row without a key of its own gets the upload's, `/row/` and its number. So a block of rows whose
fate is unknown is sent again as it is, as often as it takes, and so is a whole file.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from hashlib import sha256
from itertools import groupby
from typing import Final, TypeVar

from gateway import metrics
from gateway.formats.mapping import Mapper
from gateway.ingest.bulk import Bulk
from gateway.ingest.events import Ingest
from gateway.limits import Limits, RateLimited
from gateway.problems import OutcomeUnknown
from gateway.uploads.layout import Layout
from gateway.uploads.reading import ROW_CHARACTERS_MAX, Row
from gateway.uploads.record import (
    REJECTED_BYTES_MAX,
    REJECTIONS_KEPT_MAX,
    REUSED,
    Opened,
    digest_of,
)
from gateway.uploads.rejected import Rejection
from runtime.crashpoints import crashpoint
from runtime.postgres import TRANSIENT_ERRORS
from schemas.errors import InvalidInput, Problem, TransientError

PATIENCE_SECONDS: Final = 60.0
"""How long the log or the database may be away before an upload gives up."""

RETRY_SECONDS: Final = 0.5

REASONS_MAX: Final = 100
"""Different codes that are counted apart."""

T = TypeVar("T")


class Intake:
    """Takes the rows of one file in their order."""

    def __init__(
        self, ingest: Ingest, limits: Limits, tenant_id: int, layout: Layout, upload: Opened
    ) -> None:
        """upload: how far it is; rows up to there are compared, and not sent again."""
        self._ingest = ingest
        self._limits = limits
        self._tenant_id = tenant_id
        self._layout = layout
        self._upload = upload
        self._seen = 0
        self._known = upload.progress.rows
        self._known_digest = upload.progress.digest
        self._digest = sha256(digest_of(layout.header))
        self.rejections: list[Rejection] = []

    async def take(self, rows: Sequence[Row]) -> None:
        """Take rows, and return once each has its outcome.

        Raises TransientError when that took too long; InvalidInput when these are not the rows
        that the upload began with.
        """
        await asyncio.sleep(0)  # bytes that were read ahead come without a pause
        await self._await_turn(sum(len("".join(row.cells or ())) for row in rows))
        new = [row for row in rows if self._is_new(row)]
        if not new:
            return
        first = self._seen - len(new) + 1
        elements = [self._event_of(row) for row in new]
        bulk = await patiently(lambda: self._publish(elements, first))
        crashpoint("gateway.after_upload_rows")
        self._count(new, first, bulk)

    def finish(self) -> None:
        """Say that there are no more rows. Raises InvalidInput when there must be."""
        if self._seen < self._known:
            raise _reused()
        self._upload.progress.digest = self._digest.digest()

    def _is_new(self, row: Row) -> bool:
        """Take a row into the digest; tell whether it has no outcome yet."""
        self._seen += 1
        if self._upload.is_complete and self._seen > self._known:
            raise _reused()
        self._digest.update(digest_of(row.cells))
        if self._seen == self._known and self._digest.digest() != self._known_digest:
            raise _reused()
        return self._seen > self._known

    async def _await_turn(self, size: int) -> None:
        """Wait while the tenant is over its limits: who sends a file waits rather than retries."""
        while True:
            try:
                self._limits.take_events(self._tenant_id, 0, size)
            except RateLimited as error:
                await asyncio.sleep(error.retry_seconds)
            else:
                return

    def _event_of(self, row: Row) -> bytes | InvalidInput:
        if row.cells is None:
            detail = f"must have at most {ROW_CHARACTERS_MAX} characters"
            return InvalidInput("row_too_long", detail)
        return self._layout.event_of(row.cells)

    async def _publish(self, elements: Sequence[bytes | InvalidInput], first: int) -> Bulk:
        key, rules = f"{self._upload.key}/row", self._layout.rules
        if rules is None:
            bulk = Bulk(key=key, first=first)
        else:
            reference = self._ingest.reference
            mapper = Mapper(rules, reference.tenants[self._tenant_id])
            elements = await mapper.make_all(elements, reference)
            bulk = Bulk(key=key, first=first, blame=mapper.blame)
        await self._ingest.take_rows(bulk, elements, self._tenant_id)
        if not bulk.is_acknowledged():
            detail = "Kafka did not acknowledge in time: the last rows may be recorded"
            raise OutcomeUnknown("outcome_unknown", detail)
        return bulk

    def _count(self, rows: Sequence[Row], first: int, bulk: Bulk) -> None:
        progress = self._upload.progress
        errors = sorted(bulk.errors, key=lambda error: error.index)
        rejected = 0
        for index, found in groupby(errors, key=lambda error: error.index):
            problems = [Problem(error.code, error.detail, error.pointer) for error in found]
            row = rows[index]
            cells = None if row.cells is None else self._layout.own(row.cells)
            self._reject(Rejection(first + index, row.line, cells, problems))
            rejected += 1
        progress.rejected += rejected
        progress.accepted += len(rows) - rejected
        progress.names_differing += len(bulk.warnings)
        progress.rows = self._seen
        progress.digest = self._digest.digest()
        metrics.UPLOAD_ROWS.labels("rejected").inc(rejected)
        metrics.UPLOAD_ROWS.labels("accepted").inc(len(rows) - rejected)

    def _reject(self, rejection: Rejection) -> None:
        """Keep a rejected row for its report, within the bounds of one upload."""
        progress = self._upload.progress
        code = rejection.problems[0].code
        if code not in progress.reasons and len(progress.reasons) >= REASONS_MAX:
            code = "others"
        progress.reasons[code] = progress.reasons.get(code, 0) + 1
        size = sum(len(cell.encode()) for cell in rejection.cells or ())
        if (
            progress.rejected_kept < REJECTIONS_KEPT_MAX
            and progress.rejected_bytes + size <= REJECTED_BYTES_MAX
        ):
            progress.rejected_kept += 1
            progress.rejected_bytes += size
            self.rejections.append(rejection)


def _reused() -> InvalidInput:
    detail = (
        "this Idempotency-Key was used for another file: its first rows were others. Send this one "
        "with a key of its own"
    )
    return InvalidInput(REUSED, detail)


async def patiently(attempt: Callable[[], Awaitable[T]]) -> T:
    """Try again while the log or the database is away, for a bounded time.

    Raises what the last attempt raised.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PATIENCE_SECONDS
    while True:
        try:
            return await attempt()
        except (TransientError, *TRANSIENT_ERRORS):
            if loop.time() + RETRY_SECONDS > deadline:
                raise
        await asyncio.sleep(RETRY_SECONDS)
