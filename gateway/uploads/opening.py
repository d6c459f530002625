"""Bodies as they come, opened piece by piece: plain, gzip or zstd, told apart by their first bytes.

However large a body is, one piece of it is in memory.
"""

import sys
import zlib
from collections.abc import Iterator
from typing import Final, Protocol

from schemas.errors import InvalidInput

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PIECE_BYTES: Final = 64 * 1024
"""No piece is larger."""

ZSTD_WINDOW_LOG_MAX: Final = 23
"""How far back a zstd frame may refer: 8 MiB, what every decoder must give (RFC 9659)."""

CODINGS: Final = frozenset({"identity", "gzip", "x-gzip", "zstd"})

_MAGIC_BYTES: Final = 4
_GZIP_MAGIC: Final = b"\x1f\x8b"
_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_GZIP_WINDOW: Final = 31


class _Inflater(Protocol):
    """What opens one gzip member or zstd frame."""

    @property
    def eof(self) -> bool:
        """Whether its end was read."""

    @property
    def unused_data(self) -> bytes:
        """What came behind its end."""

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """Yield what data holds."""


class Opener:
    """Opens one body. Several gzip members or zstd frames in a row are one body."""

    def __init__(self) -> None:
        self._head = b""
        self._kind = ""
        self._inflater: _Inflater | None = None

    def open(self, data: bytes) -> Iterator[bytes]:
        """Yield what the next bytes hold, to be used up. Raises InvalidInput."""
        if not self._kind:
            self._head += data
            if len(self._head) < _MAGIC_BYTES:
                return
            data = self._look()
        yield from self._pieces(data)

    def finish(self) -> Iterator[bytes]:
        """Yield what is left at the end. Raises InvalidInput when the body is cut short."""
        if not self._kind:
            yield from self._pieces(self._look())
        if self._inflater is not None and not self._inflater.eof:
            raise InvalidInput("body_malformed", f"the body is cut short as {self._kind}")

    def _look(self) -> bytes:
        """Tell by the first bytes what the body is; return them."""
        if self._head.startswith(_GZIP_MAGIC):
            self._kind = "gzip"
        elif self._head.startswith(_ZSTD_MAGIC):
            self._kind = "zstd"
        else:
            self._kind = "plain"
        head, self._head = self._head, b""
        return head

    def _pieces(self, data: bytes) -> Iterator[bytes]:
        if self._kind == "plain":
            for start in range(0, len(data), PIECE_BYTES):
                yield data[start : start + PIECE_BYTES]
            return
        try:
            while data:
                if self._inflater is None or self._inflater.eof:
                    self._inflater = _Gzip() if self._kind == "gzip" else _Zstd()
                yield from self._inflater.pieces(data)
                data = self._inflater.unused_data if self._inflater.eof else b""
        except (zlib.error, zstd.ZstdError) as error:
            detail = f"the body is broken as {self._kind}: {error}"
            raise InvalidInput("body_malformed", detail) from None


class _Gzip:
    def __init__(self) -> None:
        self._inflater = zlib.decompressobj(_GZIP_WINDOW)

    @property
    def eof(self) -> bool:
        return self._inflater.eof

    @property
    def unused_data(self) -> bytes:
        return self._inflater.unused_data

    def pieces(self, data: bytes) -> Iterator[bytes]:
        while data:
            piece = self._inflater.decompress(data, PIECE_BYTES)
            if piece:
                yield piece
            data = self._inflater.unconsumed_tail
        while not self._inflater.eof and (piece := self._inflater.decompress(b"", PIECE_BYTES)):
            yield piece


class _Zstd:
    def __init__(self) -> None:
        window = {int(zstd.DecompressionParameter.window_log_max): ZSTD_WINDOW_LOG_MAX}
        self._inflater = zstd.ZstdDecompressor(options=window)

    @property
    def eof(self) -> bool:
        return self._inflater.eof

    @property
    def unused_data(self) -> bytes:
        return self._inflater.unused_data

    def pieces(self, data: bytes) -> Iterator[bytes]:
        while True:
            piece = self._inflater.decompress(data, PIECE_BYTES)
            if piece:
                yield piece
            if self._inflater.eof or self._inflater.needs_input:
                return
            data = b""
