"""CSV as it arrives: bytes in, whole rows out, the same ones however the bytes were cut.

RFC 4180 in UTF-8, with or without a byte order mark; lines end in LF, CRLF or CR; cells are
separated by comma, semicolon, tab or bar, whichever splits the first line into the most. A row
that is too long is passed over by itself. What leaves the end of a row in doubt (a stray quote,
another encoding) ends the reading, with the number of the line.
"""

import codecs
import csv
import re
from collections.abc import Iterator
from typing import Final

import msgspec

from gateway.ingest.csv_form import CELL_CHARACTERS_MAX
from gateway.uploads.long_row import LongRow, broken_quote, count_lines, open_quote
from gateway.uploads.opening import PIECE_BYTES
from schemas.errors import InvalidInput
from schemas.usage_event import EVENT_BYTES_MAX

ROW_CHARACTERS_MAX: Final = EVENT_BYTES_MAX
"""A longer row can't be an event."""

DELIMITERS: Final = (",", ";", "\t", "|")

_find_lines: Final = re.compile(r"[^\r\n]*(?:\r\n|\n|\r)").findall

assert ROW_CHARACTERS_MAX + PIECE_BYTES <= CELL_CHARACTERS_MAX


class Row(msgspec.Struct, frozen=True, gc=False):
    """A row. line: the first that it stands on, from 1. cells: None when it is too long."""

    line: int
    cells: list[str] | None


class _NeedMore(Exception):
    """The lines at hand end, perhaps inside a row."""


class Rows:
    """Reads one body's rows; blank lines are none."""

    def __init__(self, delimiter: str | None = None) -> None:
        """delimiter: between cells; None to choose it by the first line."""
        csv.field_size_limit(CELL_CHARACTERS_MAX)  # the process's
        self.delimiter = delimiter
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._held = ""
        self._lines = 0
        self._long: LongRow | None = None

    def feed(self, data: bytes) -> Iterator[Row]:
        """Yield the rows that these bytes complete; to be used up. Raises InvalidInput."""
        for start in range(0, len(data), PIECE_BYTES):
            yield from self._decode(data[start : start + PIECE_BYTES], is_last=False)

    def finish(self) -> Iterator[Row]:
        """Yield what is left at the end of the body. Raises InvalidInput."""
        yield from self._decode(b"", is_last=True)

    def _decode(self, data: bytes, *, is_last: bool) -> Iterator[Row]:
        try:
            text = self._decoder.decode(data, is_last)
        except UnicodeDecodeError as error:
            yield from self._take(error.object[: error.start].decode(), is_last=False)
            raise self._not_utf8(error.object[error.start]) from None
        yield from self._take(text, is_last=is_last)

    def _not_utf8(self, byte: int) -> InvalidInput:
        read = self._lines if self._long is None else self._long.line - 1 + self._long.lines
        detail = (
            f"line {read + count_lines(self._held) + 1} is not UTF-8 (the byte 0x{byte:02x}): save "
            "the file as UTF-8, or convert it, for instance with `iconv -f latin1 -t utf-8`"
        )
        return InvalidInput("not_utf8", detail)

    def _take(self, text: str, *, is_last: bool) -> Iterator[Row]:
        self._held += text
        if self._long is not None:
            if not self._pass_over(self._long, is_last=is_last):
                return
            yield Row(self._long.line, None)
            self._lines = self._long.line - 1 + self._long.lines
            self._long = None
        yield from self._parse(is_last=is_last)
        if len(self._held) > ROW_CHARACTERS_MAX:
            self._long = LongRow(self._lines + 1, self.delimiter or DELIMITERS[0])
            self._pass_over(self._long, is_last=False)

    def _pass_over(self, row: LongRow, *, is_last: bool) -> bool:
        """Drop what is held of a row that is too long; tell whether its end was found."""
        end = row.find_end(self._held, is_last=is_last)
        self._held = self._held[end:]
        return row.is_ended

    def _parse(self, *, is_last: bool) -> Iterator[Row]:
        """Yield the rows that are whole; go on holding what comes behind them."""
        lines, rest = _split(self._held, is_last=is_last)
        if self.delimiter is None:
            self.delimiter = _delimiter_of(lines)
        source = _lines_of(lines, is_last=is_last)
        reader = csv.reader(source, delimiter=self.delimiter or DELIMITERS[0], strict=True)
        read = 0
        try:
            for cells in reader:
                first, read = read, reader.line_num
                if cells:
                    is_long = sum(map(len, lines[first:read])) > ROW_CHARACTERS_MAX
                    yield Row(self._lines + first + 1, None if is_long else cells)
        except _NeedMore:
            pass
        except csv.Error as error:
            if "end of data" in str(error):
                raise open_quote(self._lines + read + 1) from None
            raise broken_quote(self._lines + reader.line_num) from None
        self._lines += read
        self._held = "".join(lines[read:]) + rest


def _split(text: str, *, is_last: bool) -> tuple[list[str], str]:
    """Split text into lines that are whole, with their ends, and the rest.

    A CR at the very end is no end yet: an LF may follow.
    """
    end = len(text) if is_last else max(text.rfind("\n"), text.rfind("\r", 0, -1)) + 1
    lines: list[str] = _find_lines(text, 0, end)
    if is_last and text and text[-1] not in "\r\n":
        lines.append(text[sum(map(len, lines)) :])
    return lines, text[end:]


def _lines_of(lines: list[str], *, is_last: bool) -> Iterator[str]:
    yield from lines
    if not is_last:
        raise _NeedMore


def _delimiter_of(lines: list[str]) -> str | None:
    """Return what splits the first line into the most cells; None while there is no line."""
    first = next((line for line in lines if line.strip()), None)
    if first is None:
        return None
    return max(DELIMITERS, key=lambda sign: len(next(csv.reader([first], delimiter=sign))))
