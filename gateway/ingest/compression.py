"""Compressed bodies: gzip and zstd, opened within bounds and off the loop when that takes time.

What comes out is bounded in bytes and by a ratio to what came in. A body is one gzip member, or
zstd frames; whatever is cut short, broken or followed by something else is refused.
"""

import asyncio
import zlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import cramjam

from schemas.errors import InvalidInput, InvalidUsageEvent

RATIO_MAX: Final = 1_000
"""How many times larger than its compressed form a body may be, above `FREE_BYTES`."""

FREE_BYTES: Final = 1024 * 1024
INLINE_BYTES_MAX: Final = 1024
"""Larger bodies are opened in a thread: they may be megabytes."""

OPENED_AT_ONCE_MAX: Final = 2
"""Bodies being opened in threads; others wait. Each takes twice the largest body's memory, which
counts for nobody until it is known how much comes out."""

_GZIP_WINDOW: Final = 31
_threads: Final = ThreadPoolExecutor(OPENED_AT_ONCE_MAX, "open-body")


async def decompress(body: bytes, encoding: str, bytes_max: int) -> bytes:
    """Undo a body's Content-Encoding.

    Raises InvalidInput: `encoding_unsupported`, `body_malformed`, `body_too_large`.
    """
    if encoding == "identity":
        return body
    opener = _OPENERS.get(encoding)
    if opener is None:
        raise InvalidInput("encoding_unsupported", "the body may be plain, gzip or zstd")
    limit = min(bytes_max, FREE_BYTES + RATIO_MAX * len(body))
    if len(body) <= INLINE_BYTES_MAX:
        return opener(body, limit)
    return await asyncio.get_running_loop().run_in_executor(_threads, opener, body, limit)


def _open_gzip(body: bytes, limit: int) -> bytes:
    inflater = zlib.decompressobj(_GZIP_WINDOW)
    try:
        opened = inflater.decompress(body, limit + 1)
    except zlib.error:
        raise _broken("gzip") from None
    if len(opened) > limit:
        raise too_large(limit)
    if not inflater.eof:
        raise _broken("gzip")
    if inflater.unused_data:
        raise InvalidInput("body_malformed", "the body must be one gzip member")
    return opened


def _open_zstd(body: bytes, limit: int) -> bytes:
    opened = bytearray(limit)
    try:
        size = cramjam.zstd.decompress_into(body, opened)
    except cramjam.DecompressionError as error:
        if "whole buffer" in str(error):
            raise too_large(limit) from None
        raise _broken("zstd") from None
    return bytes(memoryview(opened)[:size])


_OPENERS: Final[Mapping[str, Callable[[bytes, int], bytes]]] = {
    "gzip": _open_gzip,
    "x-gzip": _open_gzip,
    "zstd": _open_zstd,
}


def _broken(kind: str) -> InvalidInput:
    return InvalidInput("body_malformed", f"the body is broken or cut short as {kind}")


def too_large(bytes_max: int) -> InvalidInput:
    """Say that a body is larger than it may be."""
    return InvalidUsageEvent("body_too_large", f"the body must be at most {bytes_max} bytes")
