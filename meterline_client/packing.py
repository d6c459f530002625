"""Packs the bodies of requests: usage repeats itself, and comes down to an eighth."""

import asyncio
import gzip
from collections.abc import Mapping
from typing import Final

from meterline_client.transport import HEADERS

LEVEL: Final = 1
"""The quickest: the usual one saves a seventh more, for twice the time."""

INLINE_BYTES_MAX: Final = 32 * 1024
"""Larger bodies are packed in a thread: a mebibyte takes 8 ms, in which others could go on."""

_PACKED: Final[Mapping[str, str]] = {**HEADERS, "Content-Encoding": "gzip"}


async def pack(body: bytes, bytes_min: int | None) -> tuple[bytes, Mapping[str, str]]:
    """Return what to send for a body, and the headers that go with it.

    bytes_min: what is smaller is sent as it is; None: everything is.
    """
    if bytes_min is None or len(body) < bytes_min:
        return body, HEADERS
    if len(body) <= INLINE_BYTES_MAX:
        return _pack(body), _PACKED
    return await asyncio.to_thread(_pack, body), _PACKED


def _pack(body: bytes) -> bytes:
    return gzip.compress(body, LEVEL, mtime=0)
