"""The list of usage as files of a mail: the CSV plain while it is short, else zipped; pure.

Inside of the ZIP are the same bytes, and its date is fixed, so a mail that goes out again is alike.
"""

import io
import zipfile
from typing import IO, Final

import msgspec

PLAIN_BYTES_MAX: Final = 1_000_000
"""A longer list is zipped, which any desktop opens without another program."""

NAME: Final = "usage.csv"
_DATE: Final = (1980, 1, 1, 0, 0, 0)
"""The first that a ZIP can have."""


class Attached(msgspec.Struct, frozen=True):
    """A file of a mail. kind: its media type, as main and sub."""

    name: str
    kind: tuple[str, str]
    content: bytes


class UsageFiles(msgspec.Struct, frozen=True):
    """What a mail brings of the usage.

    too_long: the formats, CSV or PDF, of lists over the bounds. gone: of lists that nobody can
    read any more, since events have left for an archive.
    """

    files: tuple[Attached, ...] = ()
    too_long: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()


class CsvFile:
    """A file that is written piece by piece, and holds no more than what will be attached."""

    def __init__(self) -> None:
        self._plain: list[bytes] = []
        self._buffer = io.BytesIO()
        self._archive: zipfile.ZipFile | None = None
        self._entry: IO[bytes] | None = None
        #: Bytes that were written, before they were zipped.
        self.length = 0

    @property
    def size(self) -> int:
        """How many bytes are held, less what the compressor has not given out yet."""
        return self.length if self._entry is None else self._buffer.tell()

    def write(self, piece: bytes) -> None:
        """Add a piece."""
        self.length += len(piece)
        if self._entry is not None:
            self._entry.write(piece)
            return
        self._plain.append(piece)
        if self.length > PLAIN_BYTES_MAX:
            self._begin_zip()

    def _begin_zip(self) -> None:
        self._archive = zipfile.ZipFile(self._buffer, "w", zipfile.ZIP_DEFLATED)
        info = zipfile.ZipInfo(NAME, _DATE)
        info.compress_type = zipfile.ZIP_DEFLATED
        entry = self._archive.open(info, "w")
        for piece in self._plain:
            entry.write(piece)
        self._entry, self._plain = entry, []

    def close(self) -> Attached:
        """End the file."""
        if self._entry is None or self._archive is None:
            return Attached(NAME, ("text", "csv"), b"".join(self._plain))
        self._entry.close()
        self._archive.close()
        return Attached("usage.zip", ("application", "zip"), self._buffer.getvalue())
