"""Events as CSV (RFC 4180, UTF-8): the header names the fields, each row is an event.

`additional_report_data` and `validations` hold JSON, or have columns of their own for their keys:
`additional_report_data.region`, whose values are texts. An empty cell is a field left out.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec
from msgspec import Raw

from gateway.ingest.parsing import EVENT_FIELDS, EVENTS_MAX
from schemas.errors import InvalidInput, Problem
from schemas.usage_event import pointer_to, unknown_field

OBJECTS: Final = ("additional_report_data", "validations")

CELL_CHARACTERS_MAX: Final = 1 << 17
"""Twice what an event may have: a longer cell is a quote that was never closed."""

ROW_CHARACTERS_MAX: Final = 2 * CELL_CHARACTERS_MAX
"""More is no event; and a row of a million cells would take long to be told so."""

COLUMNS_MAX: Final = 1_000
BLANK_ROWS_MAX: Final = EVENTS_MAX

_decode_object: Final = msgspec.json.Decoder(dict[str, Raw]).decode

Column = tuple[str, str | None]
"""A field, and the key inside it or None for the whole."""


def split_csv(body: bytes, *, has_own_fields: bool = False) -> Iterator[bytes | InvalidInput]:
    """Yield the rows as events in JSON, or what is wrong with one. Raises InvalidInput.

    has_own_fields: the columns are not those of an event; each is a field, and its cell a text.
    """
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidInput("body_malformed", "must be CSV in UTF-8") from None
    csv.field_size_limit(CELL_CHARACTERS_MAX)  # the process's: nobody else here reads CSV
    lines = Lines(text)
    reader = csv.reader(lines, strict=True)
    try:
        names = next(reader, [])
        columns = read_own_header(names) if has_own_fields else read_header(names)
        count = blank = 0
        for row in reader:
            lines.begin_row()
            if not row:
                blank += 1
                _check_count(blank, BLANK_ROWS_MAX, "blank rows")
                continue
            count += 1
            _check_count(count, EVENTS_MAX, "events")
            yield event_of_row(columns, row, has_own_fields=has_own_fields)
    except csv.Error as error:
        detail = f"is no CSV at line {reader.line_num}: {error}"
        raise InvalidInput("body_malformed", detail) from None


class Lines:
    """Lines for a CSV reader, which takes as many as make a row; too many for one are refused."""

    def __init__(self, text: str) -> None:
        self._read = io.StringIO(text, newline="").readline
        self._left = ROW_CHARACTERS_MAX

    def begin_row(self) -> None:
        """Note that the lines so far were rows."""
        self._left = ROW_CHARACTERS_MAX

    def __iter__(self) -> "Lines":
        return self

    def __next__(self) -> str:
        line = self._read(self._left + 1)
        self._left -= len(line)
        if self._left < 0:
            raise csv.Error(f"a row has more than {ROW_CHARACTERS_MAX} characters")
        if not line:
            raise StopIteration
        return line


def _check_count(count: int, most: int, what: str) -> None:
    if count > most:
        raise InvalidInput("too_many_events", f"must have at most {most} {what}")


def _check_columns(names: Sequence[str]) -> None:
    """Look at the number of columns first: the other rules take longer, the more there are."""
    if len(names) > COLUMNS_MAX:
        raise InvalidInput("body_malformed", f"must have at most {COLUMNS_MAX} columns")


def read_header(names: Sequence[str]) -> list[Column]:
    """Read the names of the columns. Raises InvalidInput that lists every wrong one."""
    if not names:
        raise InvalidInput("body_malformed", "must begin with a row that names the fields")
    _check_columns(names)
    columns = [_column(name.strip()) for name in names]
    problems = [
        Problem("unknown_field", unknown_field(field, EVENT_FIELDS), pointer_to(field))
        for field, _ in columns
        if field not in EVENT_FIELDS
    ]
    whole = {field for field, key in columns if key is None}
    seen: set[Column] = set()
    for column in columns:
        field, key = column
        if column in seen or (key is not None and field in whole):
            problems.append(Problem("json_duplicate_key", "comes twice", pointer_to(field)))
        seen.add(column)
    if problems:
        raise InvalidInput.of(problems)
    return columns


def read_own_header(names: Sequence[str]) -> list[Column]:
    """Read the names of columns that a format knows. Raises InvalidInput."""
    _check_columns(names)
    columns = [name.strip() for name in names]
    if not any(columns):
        raise InvalidInput("body_malformed", "must begin with a row that names the columns")
    problems = [
        Problem("json_duplicate_key", "comes twice", pointer_to(name))
        for name in sorted({name for name in columns if columns.count(name) > 1})
    ]
    if problems:
        raise InvalidInput.of(problems)
    return [(name, None) for name in columns]


def _column(name: str) -> Column:
    field, dot, key = name.partition(".")
    return (field, key) if dot and field in OBJECTS else (name, None)


def event_of_row(
    columns: Sequence[Column], row: Sequence[str], *, has_own_fields: bool = False
) -> bytes | InvalidInput:
    """Return a row as an event in JSON, or what is wrong with it."""
    if len(row) != len(columns):
        detail = f"has {len(row)} cells where the header has {len(columns)}"
        return InvalidInput("row_malformed", detail)
    if has_own_fields:
        cells = zip(columns, row, strict=True)
        return msgspec.json.encode({name: cell for (name, _), cell in cells if cell})
    fields: dict[str, str | Raw | dict[str, str]] = {}
    for (field, key), cell in zip(columns, row, strict=True):
        if not cell:
            continue
        if key is not None:
            inside = fields.setdefault(field, {})
            assert isinstance(inside, dict), "the header has no column for the whole"
            inside[key] = cell
        elif field in OBJECTS:
            try:
                _decode_object(cell)
            except (ValueError, RecursionError):
                return InvalidInput("type_object", "must be a JSON object", pointer_to(field))
            fields[field] = Raw(cell.encode())
        else:
            fields[field] = cell
    return msgspec.json.encode(fields)
