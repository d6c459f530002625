"""Rejected rows as a CSV: as they were, with their number and the reasons, safe to be opened.

A cell that a spreadsheet would run as a formula gets an apostrophe in front; numbers get none. An
upload whose last columns are `MARKS` is such a file that comes back, and loses the apostrophes.
"""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from schemas.errors import Problem

MARKS: Final = ("rejected_row", "rejected_because")
"""The columns behind those of the file."""

GUARD: Final = "'"

_is_run: Final = re.compile(r"'*[=+\-@\t\r\n\0\uff1d\uff0b\uff0d\uff20]").match
_is_number: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII).fullmatch


class Rejection(msgspec.Struct, frozen=True):
    """A rejected row. number: among the rows, from 1. cells: None when it was too long to keep."""

    number: int
    line: int
    cells: Sequence[str] | None
    problems: Sequence[Problem]


def with_guard(cell: str) -> str:
    """Return a cell as it is safe to open."""
    return GUARD + cell if _is_run(cell) and not _is_number(cell) else cell


def without_guard(cell: str) -> str:
    """Undo `with_guard`."""
    return cell[1:] if cell.startswith(GUARD) and _is_run(cell) else cell


def write_header(header: Sequence[str]) -> bytes:
    """Write the first line."""
    return _lines([[*map(with_guard, header), *MARKS]])


def write_rows(header: Sequence[str], rows: Iterable[Rejection]) -> bytes:
    """Write rows; one that is not whole any more has as many empty cells as there are columns."""
    return _lines(
        [
            *map(with_guard, [""] * len(header) if row.cells is None else row.cells),
            row.number,
            with_guard("; ".join(map(_said, row.problems))),
        ]
        for row in rows
    )


def _said(problem: Problem) -> str:
    place = problem.pointer.removeprefix("/")
    return f"{place or 'row'}: {problem.detail} ({problem.code})"


def _lines(rows: Iterable[Sequence[object]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode()
