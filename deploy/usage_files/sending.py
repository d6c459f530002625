"""Sending a file: rows become events, outcomes come back in their order, the journal follows."""

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from msgspec import Struct

from deploy.usage_files.errors import SourceBroken
from deploy.usage_files.journal import Progress, Rejects, save_progress
from deploy.usage_files.mapping import EventMaker
from deploy.usage_files.source import Row, Source
from meterline_client import Accepted, Client, EncodedEvent, Outcome, Rejected, Unknown

SAVE_SECONDS: Final = 0.25
"""How often, at the most, the resume file is written while outcomes come; first with the first."""

REASONS_MAX: Final = 100
"""Different reasons of rejections that a summary holds."""


class Reason(Struct):
    """Why rows were rejected: how many, and the first of them."""

    sentence: str
    row: int
    rows: int = 0


class Summary(Struct, kw_only=True):
    """What became of a file.

    earlier: rows that earlier runs had sent. stopped: why not all rows were sent, None if all.
    """

    rows: int = 0
    earlier: int = 0
    accepted: int = 0
    rejected: int = 0
    stopped: str | None = None
    reasons: dict[str, Reason]

    def count(self, row: Row, outcome: Accepted | Rejected) -> None:
        """Count the outcome of a row."""
        self.rows += 1
        if isinstance(outcome, Accepted):
            self.accepted += 1
            return
        self.rejected += 1
        for error in outcome.errors:
            name = f"{error.pointer} {error.code}"
            if name in self.reasons or len(self.reasons) < REASONS_MAX:
                reason = self.reasons.setdefault(name, Reason(str(error), row.number))
                reason.rows += 1


class Sending:
    """One run over a file."""

    def __init__(
        self,
        source: Source,
        maker: EventMaker,
        progress: Progress,
        *,
        resume: Path | None = None,
        rejects: Rejects | None = None,
        on_progress: Callable[[Summary], None],
    ) -> None:
        """progress: how far earlier runs got. on_progress: called every so often."""
        self._source = source
        self._maker = maker
        self._progress = progress
        self._resume = resume
        self._rejects = rejects
        self._on_progress = on_progress
        self._under_way: deque[Row] = deque()
        self._saved_at = -math.inf
        self.summary = Summary(
            rows=progress.rows,
            earlier=progress.rows,
            accepted=progress.accepted,
            rejected=progress.rejected,
            reasons={},
        )

    def run(self, client: Client) -> Summary:
        """Send what is left of the file; stop at the first row without an outcome."""
        try:
            for outcome in client.stream(self._events()):
                if not self._take(outcome):
                    break
        finally:
            self._save()
        return self.summary

    def _events(self) -> Iterator[EncodedEvent | Rejected]:
        try:
            for row in self._source.rows():
                if row.number > self._progress.rows:
                    self._under_way.append(row)
                    yield self._maker.make(row)
        except SourceBroken as error:  # what was read before it still gets its outcomes
            self.summary.stopped = str(error)

    def _take(self, outcome: Outcome) -> bool:
        """Note the next row's outcome; False when it has none that can be counted."""
        row = self._under_way.popleft()
        if isinstance(outcome, Unknown):
            self.summary.stopped = f"row {row.number}: {outcome.reason}"
            return False
        # Written before it is counted: an interruption in between repeats it and loses nothing.
        if isinstance(outcome, Rejected) and self._rejects is not None:
            self._rejects.add(row, outcome)
        self.summary.count(row, outcome)
        if time.monotonic() - self._saved_at >= SAVE_SECONDS:
            self._save()
        return True

    def _save(self) -> None:
        """Bring the journal up to date, the rejected rows before the count that includes them."""
        size = 0 if self._rejects is None else self._rejects.sync()
        if self._resume is not None:
            progress = Progress(
                digest=self._progress.digest,
                rows=self.summary.rows,
                accepted=self.summary.accepted,
                rejected=self.summary.rejected,
                rejects_bytes=size,
            )
            save_progress(self._resume, progress)
        self._saved_at = time.monotonic()
        self._on_progress(self.summary)
