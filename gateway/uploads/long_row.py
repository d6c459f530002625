"""A row that is too long to be held: passed over to its end, by the rules by which csv reads."""

import re
from typing import Final

from schemas.errors import InvalidInput

_QUOTE: Final = '"'
_START, _PLAIN, _QUOTED, _AFTER_QUOTE = "start", "plain", "quoted", "after quote"
"""Where the reading stands: before a cell, in one without quotes, in one with, at its quote."""


class LongRow:
    """Finds the end of a row, piece by piece, and keeps nothing of it.

    line: the first that it stands on. lines: how many ends of lines were passed.
    """

    def __init__(self, line: int, delimiter: str) -> None:
        self.line = line
        self.lines = 0
        self.is_ended = False
        self._delimiter = delimiter
        self._find_plain_end = re.compile(f"[\r\n{re.escape(delimiter)}]").search
        self._state = _START

    def find_end(self, text: str, *, is_last: bool) -> int:
        """Pass over text; return how much of it belongs to the row, or can't be told apart yet.

        `is_ended` says which of the two. Raises InvalidInput.
        """
        size = len(text) if is_last or not text.endswith("\r") else len(text) - 1
        place = 0
        while place < size and not self.is_ended:
            place = self._step(text, place, size)
        if is_last and not self.is_ended:
            if self._state == _QUOTED:
                raise open_quote(self.line)
            self.is_ended = True
            self.lines += 1
        return place

    def _step(self, text: str, place: int, size: int) -> int:
        """Go on from a place to the next that matters."""
        sign = text[place]
        if self._state == _QUOTED:
            return self._leave_quotes(text, place, size)
        if self._state == _PLAIN:
            found = self._find_plain_end(text, place, size)
            if found is None:
                return size
            place = found.start()
            sign = text[place]
        if sign in "\r\n":
            self.is_ended = True
            self.lines += 1
            return place + (2 if text.startswith("\r\n", place) else 1)
        if sign == self._delimiter:
            self._state = _START
        elif sign == _QUOTE and self._state in (_START, _AFTER_QUOTE):
            self._state = _QUOTED
        elif self._state == _AFTER_QUOTE:
            raise broken_quote(self.line + self.lines)
        else:
            self._state = _PLAIN
        return place + 1

    def _leave_quotes(self, text: str, place: int, size: int) -> int:
        quote = text.find(_QUOTE, place, size)
        end = size if quote < 0 else quote
        self.lines += count_lines(text, place, end)
        if quote < 0:
            return size
        self._state = _AFTER_QUOTE
        return quote + 1


def count_lines(text: str, start: int = 0, end: int | None = None) -> int:
    """Count the ends of lines: LF, CRLF, CR."""
    end = len(text) if end is None else end
    ends = text.count("\n", start, end) + text.count("\r", start, end)
    return ends - text.count("\r\n", start, end)


def open_quote(line: int) -> InvalidInput:
    """Say that a quote is never closed."""
    detail = f"the row at line {line} opens a quote that is never closed"
    return InvalidInput("body_malformed", detail)


def broken_quote(line: int) -> InvalidInput:
    """Say that a quote stands where none may."""
    detail = f"line {line}: a quote inside a quoted cell must be doubled"
    return InvalidInput("body_malformed", detail)
