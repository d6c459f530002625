"""Files of usage as rows, whatever they are written and packed in."""

import gzip
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.usage_files.errors import SourceBroken
from deploy.usage_files.source import CsvRow, Format, JsonRow, Row, open_source

ROWS = b'a,b\n1,2\n\n"3,\n3",4\n'


def rows_of(path: Path, form: Format | None = None) -> list[Row]:
    with open_source(path, form) as source:
        return list(source.rows())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "usage"


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lzma.compress], ids=["plain", "gz", "xz"])
def test_a_csv_is_read_row_by_row_whatever_packs_it(
    path: Path, pack: Callable[[bytes], bytes]
) -> None:
    path.write_bytes(pack(ROWS))
    with open_source(path) as source:
        assert (source.format, source.columns) == (Format.CSV, ["a", "b"])
        assert list(source.rows()) == [CsvRow(1, ["1", "2"]), CsvRow(2, ["3,\n3", "4"])]
        assert source.bytes_read == source.size == path.stat().st_size


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_another_delimiter_is_seen_in_the_header(path: Path, delimiter: str) -> None:
    path.write_text(f"\N{BYTE ORDER MARK}a{delimiter}b\n1,5{delimiter}2\n")
    assert rows_of(path) == [CsvRow(1, ["1,5", "2"])]


@pytest.mark.parametrize(
    "content", [b'{"a": 1}\n\n{"a": 2.50}', b'\xef\xbb\xbf [{"a": 1}, {"a": 2.50} ]\n']
)
def test_json_events_keep_their_text(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert rows_of(path) == [JsonRow(1, b'{"a": 1}'), JsonRow(2, b'{"a": 2.50}')]


def test_the_same_content_has_the_same_digest_and_other_content_another(tmp_path: Path) -> None:
    digests = []
    for name, content in (("a", ROWS), ("b", ROWS), ("c", ROWS + b"5,6\n")):
        (tmp_path / name).write_bytes(content)
        with open_source(tmp_path / name) as source:
            digests.append(source.digest)
    assert digests[0] == digests[1] != digests[2]


def test_a_file_that_grows_while_its_digest_is_used_is_not_taken_for_whole(path: Path) -> None:
    path.write_bytes(ROWS)
    with open_source(path) as source:
        rows = source.rows()
        assert source.digest
        with path.open("ab") as file:
            file.write(b"5,6\n" * 200_000)
        with pytest.raises(SourceBroken, match="changed while it was read"):
            list(rows)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (gzip.compress(ROWS * 1_000)[:-20], "can't be read"),
        (lzma.compress(ROWS * 1_000)[:-20], "can't be read"),
        (b'a,b\n1,2\n3,"4\n' + b"x" * 2_000_000, "is no CSV after row 1"),
        (b'a,b\n1,2\n3,"4"x\n', "is no CSV after row 1"),
        (b'{"a": 1}\n{"a": "' + b"x" * 2_000_000, "row 2 is longer"),
        (b"[1, 2", "is no JSON array"),
        (b"[" * 100_000, "is no JSON array"),
    ],
    ids=["short gz", "short xz", "open quote", "odd quote", "long line", "short array", "deep"],
)
def test_a_broken_file_says_where_it_broke(path: Path, content: bytes, said: str) -> None:
    path.write_bytes(content)
    with pytest.raises(SourceBroken, match=said):
        rows_of(path)


def test_what_can_not_be_opened_is_said_so(path: Path) -> None:
    with pytest.raises(SourceBroken, match="No such file"):
        rows_of(path)
    path.write_text("a,b,a\n1,2,3\n")
    with pytest.raises(SourceBroken, match="'a' comes twice"):
        rows_of(path)


def test_an_empty_file_has_no_rows(path: Path) -> None:
    path.write_bytes(b"")
    assert rows_of(path) == []
