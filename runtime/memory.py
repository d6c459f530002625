"""What a process keeps of the memory that it has given back."""

import ctypes
from typing import Final

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8

MAPPED_FROM_BYTES: Final = 4 * 1024 * 1024
"""A block so large is mapped by itself, and goes back to the system when it is given back.

By itself glibc raises this bound to the largest block given back so far: the 19 MiB of the first
password hash made the second one's stay, 85 MiB of an idle gateway instead of 65.
"""

KEPT_BYTES_MAX: Final = 8 * 1024 * 1024
"""What may stay unused at the end of the heap; bodies and batches come and go within it."""

ARENAS_MAX: Final = 2
"""Heaps that threads share: ours hash, compress and render, seldom two at once."""


def bound_what_stays() -> None:
    """Tell glibc what it may keep; another C library has no such question."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, MAPPED_FROM_BYTES)
        mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES_MAX)
        mallopt(_M_ARENA_MAX, ARENAS_MAX)
