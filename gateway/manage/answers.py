"""What answers are written with: exact numbers, times that end in Z, and opaque cursors."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final

import msgspec
from aiohttp import web

from schemas.errors import InvalidInput, Problem

_encode: Final = msgspec.json.Encoder().encode


def number(value: Decimal) -> msgspec.Raw:
    """Write a decimal as a JSON number with the digits it has, never an exponent."""
    return msgspec.Raw(format(value, "f").encode())


def number_or_null(value: Decimal | None) -> msgspec.Raw | None:
    """Write a decimal that may be missing."""
    return None if value is None else number(value)


def terms_answer(net_terms: str | None) -> int | str | None:
    """Show payment terms: days as a number, else the word."""
    return int(net_terms) if net_terms is not None and net_terms.isdecimal() else net_terms


def json_answer(
    payload: object, *, status: int = 200, warnings: Sequence[Problem] = ()
) -> web.Response:
    """Answer with JSON; warnings are shown beside the members of an object."""
    if warnings:
        assert isinstance(payload, dict)
        payload = payload | {"warnings": warnings}
    return web.Response(body=_encode(payload), status=status, content_type="application/json")


def cursor_of(last: int) -> str:
    """Write the place after which the next page starts, in a form that invites no arithmetic."""
    return urlsafe_b64encode(str(last).encode()).decode().rstrip("=")


def read_cursor(value: object) -> int:
    """Read what `cursor_of` wrote. Raises InvalidInput."""
    try:
        padded = str(value) + "=" * (-len(str(value)) % 4)
        place = int(urlsafe_b64decode(padded))
    except ValueError:
        place = -1
    if not 0 <= place < 1 << 63:
        raise InvalidInput("cursor_malformed", "must be a next_cursor of an earlier answer")
    return place


def page_answer(name: str, rows: list[Any], last: int | None) -> web.Response:
    """Answer with a page. last: the place of its last row when there may be more, else None."""
    return json_answer({name: rows, "next_cursor": None if last is None else cursor_of(last)})
