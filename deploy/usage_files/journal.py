"""What a run leaves behind on disk: how far it got, and the rows that were rejected.

The resume file is replaced whole, after the rows that it counts have their outcomes and the
rejected ones are on disk: whatever kills the run, the next one goes on from a true place.
"""

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec
from msgspec import Struct

from deploy.usage_files.errors import GaveUp
from deploy.usage_files.source import CsvRow, Row, Source
from meterline_client import Rejected

VERSION: Final = 1


class Progress(Struct, kw_only=True):
    """How far a file is sent: its first `rows` rows have their outcomes.

    digest: of the file that is meant. rejects_bytes: of the rejected rows' file, so far.
    """

    v: int = VERSION
    digest: str
    rows: int = 0
    accepted: int = 0
    rejected: int = 0
    rejects_bytes: int = 0


def load_progress(path: Path | None, source: Source) -> Progress:
    """Return how far earlier runs got with this very file. Raises GaveUp."""
    if path is None:
        return Progress(digest="")
    if source.digest is None:
        raise GaveUp("--resume needs a file: what came through a pipe can't be read again")
    if not path.exists():
        return Progress(digest=source.digest)
    try:
        progress = msgspec.json.decode(path.read_bytes(), type=Progress)
    except msgspec.DecodeError as error:
        raise GaveUp(f"{path} is no resume file: {error}") from None
    if progress.v != VERSION or progress.digest != source.digest:
        raise GaveUp(
            f"{path} belongs to another file, or {source.path} has changed since: send the new "
            "rows as a file of their own, or remove the resume file to begin anew"
        )
    return progress


def save_progress(path: Path, progress: Progress) -> None:
    """Replace the resume file, on disk when this returns."""
    beside = path.with_name(path.name + ".new")
    with beside.open("wb") as file:
        file.write(msgspec.json.encode(progress))
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


class Rejects:
    """The rejected rows as a CSV: as they were, with number and reasons, ready to be corrected."""

    def __init__(self, path: Path, columns: Sequence[str], size: int) -> None:
        """Keep the first `size` bytes, written before, and drop what no outcome stands for."""
        if size > 0 and (not path.exists() or path.stat().st_size < size):
            raise GaveUp(f"{path} is shorter than the resume file says")
        try:
            self._file = path.open("ab")
        except OSError as error:
            raise GaveUp(f"{path}: {error.strerror}") from None
        self._file.truncate(size)
        self._file.seek(size)
        if size == 0:
            self._write([*(columns or ["event"]), "rejected_row", "rejected_because"])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()

    def add(self, row: Row, rejected: Rejected) -> None:
        """Write a row with its reasons."""
        cells = row.cells if isinstance(row, CsvRow) else [row.body.decode(errors="replace")]
        self._write([*cells, row.number, "; ".join(map(str, rejected.errors))])

    def _write(self, cells: Sequence[object]) -> None:
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator="\n").writerow(cells)
        self._file.write(text.getvalue().encode(errors="surrogateescape"))

    def sync(self) -> int:
        """Bring everything to the disk, and return how many bytes that is."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._file.tell()
