"""CSV for people's spreadsheets, which run what looks like a formula. Pure.

UTF-8 with a byte order mark, without which spreadsheets read it as something else; lines end with
CRLF (RFC 4180). A text that a spreadsheet would take for a formula has an apostrophe before it.
"""

from collections.abc import Iterable
from typing import Final

BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"

_ACTIVE: Final = frozenset("=+-@＝＋－＠\t\r\n|%")  # noqa: RUF001 (wide ones act as the plain do)
_QUOTED: Final = frozenset(',;"\t\r\n')
"""A semicolon too: spreadsheets of many countries take it for the comma."""


def text_cell(text: str) -> str:
    """Write what people entered so that it stays text."""
    safe = f"'{text}" if text.lstrip(" \N{NO-BREAK SPACE}")[:1] in _ACTIVE else text
    return '"' + safe.replace('"', '""') + '"' if _QUOTED.intersection(safe) else safe


def people_row(cells: Iterable[str]) -> str:
    """Write one line of cells: texts by `text_cell`, or numbers and times of our own."""
    return ",".join(cells) + "\r\n"
