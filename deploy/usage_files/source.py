"""A file of usage as rows: CSV, NDJSON or a JSON array; plain, gzip or xz; of any size."""

import csv
import gzip
import hashlib
import io
import lzma
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, Final, cast

import msgspec
from msgspec import Raw, Struct

from deploy.usage_files.errors import SourceBroken

BUFFER_BYTES: Final = 256 * 1024
ROW_BYTES_MAX: Final = 1024 * 1024
"""A longer line is not a row: events have at most 64 KiB."""
ARRAY_BYTES_MAX: Final = 256 * 1024 * 1024
"""A JSON array is read whole; what is larger has to be NDJSON."""

_GZIP: Final = b"\x1f\x8b"
_XZ: Final = b"\xfd7zXZ\x00"
_BOM: Final = b"\xef\xbb\xbf"
_DELIMITERS: Final = ",;\t|"
_UNREADABLE: Final = (OSError, EOFError, lzma.LZMAError, zlib.error)


class Format(StrEnum):
    """What the bytes are."""

    CSV = "csv"
    NDJSON = "ndjson"
    JSON = "json"


class CsvRow(Struct, frozen=True):
    """A row's cells. number: from 1, the header not counted."""

    number: int
    cells: list[str]


class JsonRow(Struct, frozen=True):
    """A row's JSON text. number: from 1."""

    number: int
    body: bytes


Row = CsvRow | JsonRow


class Source:
    """An open file of usage."""

    def __init__(self, path: Path | None, raw: BinaryIO, form: Format | None) -> None:
        """path: None for standard input. form: None to see for itself."""
        self.path = path
        #: The file's bytes as it is stored; None when nobody knows.
        self.size = None if path is None else path.stat().st_size
        self._counted = _Counted(raw)
        self._content = io.BufferedReader(_decompressed(self._counted), BUFFER_BYTES)
        self.format = form or self._sniff()
        #: The names of a CSV's columns; empty for JSON.
        self.columns: list[str] = []
        if self.format is Format.CSV:
            self._open_csv()

    @property
    def bytes_read(self) -> int:
        """How much of the file, as it is stored, was read so far."""
        return self._counted.count

    @cached_property
    def digest(self) -> str | None:
        """The name of this very content, in 32 hexadecimal digits; None for a pipe."""
        if self.path is None:
            return None
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()

    def rows(self) -> Iterator[Row]:
        """Yield the rows. Raises SourceBroken where they can't be told apart any more."""
        readers = {
            Format.CSV: self._csv_rows,
            Format.NDJSON: self._ndjson_rows,
            Format.JSON: self._json_rows,
        }
        number = 0
        try:
            for row in readers[self.format]():
                number = row.number
                yield row
            self._check_unchanged()
        except _UNREADABLE as error:
            raise SourceBroken(f"can't be read after row {number}: {error}") from error
        except csv.Error as error:
            raise SourceBroken(f"is no CSV after row {number}: {error}") from error

    def _check_unchanged(self) -> None:
        """Raise SourceBroken when keys were made of a digest that is no longer the file's."""
        if self.path is not None and "digest" in self.__dict__ and self.size != self.bytes_read:
            raise SourceBroken("changed while it was read: send what was added as its own file")

    # ------------------------------------------------------------------ forms

    def _sniff(self) -> Format:
        first = self._content.peek(BUFFER_BYTES).removeprefix(_BOM).lstrip()[:1]
        return {b"{": Format.NDJSON, b"[": Format.JSON}.get(first, Format.CSV)

    def _open_csv(self) -> None:
        line = self._content.peek(BUFFER_BYTES).partition(b"\n")[0].decode(errors="replace")
        delimiter = max(_DELIMITERS, key=line.count)
        # What is no UTF-8 is kept as it is, so that its row can be rejected and the next one read.
        text = io.TextIOWrapper(self._content, "utf-8-sig", "surrogateescape", newline="")
        self._csv = csv.reader(text, delimiter=delimiter, strict=True)
        csv.field_size_limit(ROW_BYTES_MAX)
        self.columns = [name.strip() for name in next(self._csv, [])]
        twice = {name for name in self.columns if name and self.columns.count(name) > 1}
        if twice:
            raise SourceBroken(f"the column {min(twice)!r} comes twice in the header")

    def _csv_rows(self) -> Iterator[Row]:
        number = 0
        for cells in self._csv:
            if cells:
                number += 1
                yield CsvRow(number, cells)

    def _ndjson_rows(self) -> Iterator[Row]:
        number = 0
        while line := self._content.readline(ROW_BYTES_MAX):
            if len(line) == ROW_BYTES_MAX:
                raise SourceBroken(f"row {number + 1} is longer than {ROW_BYTES_MAX} bytes")
            body = line.removeprefix(_BOM if number == 0 else b"").strip()
            if body:
                number += 1
                yield JsonRow(number, body)

    def _json_rows(self) -> Iterator[Row]:
        content = self._content.read(ARRAY_BYTES_MAX + 1)
        if len(content) > ARRAY_BYTES_MAX:
            raise SourceBroken("is too large for one JSON array: write a line for each event")
        try:
            elements = msgspec.json.decode(content.removeprefix(_BOM), type=list[Raw])
        except (ValueError, RecursionError) as error:
            raise SourceBroken(f"is no JSON array: {error}") from error
        for number, element in enumerate(elements, 1):
            yield JsonRow(number, bytes(element))


@contextmanager
def open_source(path: Path, form: Format | None = None) -> Iterator[Source]:
    """Open a file, or standard input for `-`. Raises SourceBroken."""
    if str(path) == "-":
        yield Source(None, sys.stdin.buffer, form)
        return
    try:
        raw = path.open("rb", buffering=0)
    except OSError as error:
        raise SourceBroken(f"{path}: {error.strerror}") from error
    with raw:
        try:
            source = Source(path, cast(BinaryIO, raw), form)
        except (*_UNREADABLE, csv.Error) as error:
            raise SourceBroken(f"{path}: can't be read: {error}") from error
        yield source


class _Counted(io.RawIOBase):
    """A stream that counts what was read of it."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw
        self.count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview | bytearray") -> int:  # type: ignore[override]  # what io passes
        data = self._raw.read(len(buffer))
        buffer[: len(data)] = data
        self.count += len(data)
        return len(data)


def _decompressed(counted: _Counted) -> io.RawIOBase:
    """Wrap a stream so that it gives its content, whatever it is compressed by."""
    stored = io.BufferedReader(counted, BUFFER_BYTES)
    magic = stored.peek(len(_XZ))
    if magic.startswith(_GZIP):
        return cast(io.RawIOBase, gzip.GzipFile(fileobj=stored))
    if magic.startswith(_XZ):
        return cast(io.RawIOBase, lzma.LZMAFile(stored))
    return cast(io.RawIOBase, stored)
