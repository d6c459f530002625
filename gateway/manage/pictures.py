"""Logos: pictures that every reader of a document will open, so they are looked into here."""

import base64
import binascii
import re
import struct
from typing import Final

from schemas.errors import InvalidInput

LOGO_BYTES_MAX: Final = 64 * 1024
SIDE_MAX: Final = 4_000
"""Pixels: a small file may be a picture that fills the memory."""

_PNG: Final = b"\x89PNG\r\n\x1a\n"
_PNG_HEAD: Final = 24
_JPEG_SIZES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_split: Final = re.compile(r"data:image/(png|jpeg|svg\+xml);base64,([A-Za-z0-9+/=]*)").fullmatch
_reaches_out: Final = re.compile(
    rb"<!|<\?xml-|<([\w.-]+:)?(script|foreignobject|image|style|use|pattern|mask|marker|filter)\b|\bon[a-z]+\s*=|@import|&#|javascript:"
    rb"|href\s*=\s*(?![\"']#)|url\(\s*[\"']?(?!#)",
    re.IGNORECASE,
).search
"""What an SVG may do beyond drawing shapes: run, load, or repeat itself until memory is full (a few
`use` in each other are a billion shapes). Comments are refused with declarations."""


def logo(value: object) -> str:
    """Read a logo: a PNG, JPEG or SVG as a data URI of base64, at most 64 KiB."""
    found = _split(value) if isinstance(value, str) else None
    if found is None:
        raise InvalidInput(
            "logo_malformed", "must be data:image/png;base64,… (or jpeg, or svg+xml)"
        )
    kind, text = found.groups()
    if len(text) > (LOGO_BYTES_MAX + 2) // 3 * 4:
        raise InvalidInput("logo_too_large", f"must be at most {LOGO_BYTES_MAX} bytes of picture")
    try:
        content = base64.b64decode(text, validate=True)
    except binascii.Error:
        raise InvalidInput("logo_malformed", "must be whole base64") from None
    if kind == "svg+xml":
        _check_svg(content)
    else:
        _check_size(_png_size(content) if kind == "png" else _jpeg_size(content), kind)
    assert isinstance(value, str)
    return value


def _check_svg(content: bytes) -> None:
    try:
        content.decode()
    except UnicodeDecodeError:
        raise InvalidInput("logo_malformed", "an SVG must be UTF-8") from None
    if b"<svg" not in content or b"</svg>" not in content:
        raise InvalidInput("logo_malformed", "is no SVG")
    if found := _reaches_out(content):
        what = found[0].decode()
        detail = (
            f"an SVG must be shapes alone; take out {what!r} (script, style, link, copy, filter)"
        )
        raise InvalidInput("logo_unsafe", detail)


def _check_size(size: tuple[int, int] | None, kind: str) -> None:
    if size is None:
        raise InvalidInput("logo_malformed", f"is no {kind.upper()}")
    if not all(1 <= side <= SIDE_MAX for side in size):
        detail = f"must be at most {SIDE_MAX} pixels a side, is {size[0]} by {size[1]}"
        raise InvalidInput("logo_too_large", detail)


def _png_size(content: bytes) -> tuple[int, int] | None:
    if len(content) < _PNG_HEAD or not content.startswith(_PNG) or content[12:16] != b"IHDR":
        return None
    width, height = struct.unpack_from(">II", content, 16)
    return width, height


def _jpeg_size(content: bytes) -> tuple[int, int] | None:
    """Walk the segments up to the frame's, which has the size."""
    if not content.startswith(b"\xff\xd8"):
        return None
    place = 2
    while place + 9 <= len(content) and content[place] == 0xFF:  # noqa: PLR2004 (a marker)
        if content[place + 1] in _JPEG_SIZES:
            height, width = struct.unpack_from(">HH", content, place + 5)
            return width, height
        place += 2 + struct.unpack_from(">H", content, place + 2)[0]
    return None
