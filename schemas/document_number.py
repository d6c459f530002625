"""The visible number of a document: an entity's format, such as `INV-{year}-{number:03}`.

A format has the fields `number`, with an optional width (`{number:05}` fills with zeros), and
`year`. With `{year}` a new series of numbers begins each year; the serial alone never repeats
within a series.
"""

import re
from collections.abc import Iterator
from datetime import date
from functools import lru_cache
from string import Formatter
from typing import Final

from schemas.errors import InvalidInput

LENGTH_MAX: Final = 64

_match_width: Final = re.compile(r"(?:0[1-9]|01[0-8])?d?", re.ASCII).fullmatch


@lru_cache(maxsize=1_024)
def check_number_format(number_format: str) -> bool:
    """Check an entity's format; return whether its series restarts each year.

    Raises InvalidInput `document_number_format_malformed`.
    """
    fields = [field for field, spec in _fields(number_format) if _check_field(field, spec)]
    if "number" not in fields:
        raise _malformed("must contain {number}, or numbers would repeat")
    if len(number_format) > LENGTH_MAX or not number_format.isprintable():
        raise _malformed(f"must be at most {LENGTH_MAX} printable characters")
    return "year" in fields


def series_of(number_format: str, issue_date: date) -> str:
    """Return the series that a document issued on that day takes its number from."""
    return f"{issue_date.year:04}" if check_number_format(number_format) else ""


def format_number(number_format: str, number: int, issue_date: date) -> str:
    """Write a document's number. number: its serial in the series, from 1."""
    check_number_format(number_format)
    return number_format.format(number=number, year=f"{issue_date.year:04}")


def _fields(number_format: str) -> Iterator[tuple[str, str]]:
    """Give each field's name and width; nothing else of Python's format language gets through."""
    try:
        parsed = list(Formatter().parse(number_format))
    except ValueError as error:
        raise _malformed(f"is not a format: {error}") from error
    for _literal, field, spec, conversion in parsed:
        if conversion:
            raise _malformed("takes no conversions")
        if field is not None:
            yield field, spec or ""


def _check_field(field: str, spec: str) -> bool:
    if field == "number" and _match_width(spec):
        return True
    if field == "year" and not spec:
        return True
    written = f"{{{field}:{spec}}}" if spec else f"{{{field}}}"
    raise _malformed(f"has {written}; use {{number}}, {{number:03}} or {{year}}")


def _malformed(detail: str) -> InvalidInput:
    return InvalidInput("document_number_format_malformed", detail)
