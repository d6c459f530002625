"""CSV as it arrives: the same rows however the bytes were cut."""

import csv
import io
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.uploads.opening import PIECE_BYTES
from gateway.uploads.reading import ROW_CHARACTERS_MAX, Rows
from schemas.errors import InvalidInput

Read = tuple[list[tuple[int, list[str] | None]], str]


def read(pieces: Iterable[bytes], delimiter: str | None = None) -> Read:
    """Read a body that comes in pieces: its rows, and what ended the reading."""
    rows = Rows(delimiter)
    found: list[tuple[int, list[str] | None]] = []
    try:
        for piece in pieces:
            found.extend((row.line, row.cells) for row in rows.feed(piece))
        found.extend((row.line, row.cells) for row in rows.finish())
    except InvalidInput as error:
        return found, str(error)
    return found, ""


def cells(found: Read) -> list[list[str] | None]:
    rows, ended_by = found
    assert not ended_by
    return [row for _, row in rows]


def cut(body: bytes, places: Sequence[int]) -> list[bytes]:
    ends = sorted({place % (len(body) + 1) for place in places} | {len(body)})
    return [body[start:end] for start, end in zip([0, *ends], ends, strict=False)]


LONG = "x" * (ROW_CHARACTERS_MAX + 1)
TEXTS = st.lists(
    st.sampled_from(["a", "ü", '"', '""', ",", ";", "\n", "\r\n", "\r", '"b', 'c"', " ", "1,2\n"]),
    max_size=40,
).map("".join)
#: Stands for a cell that is too long, so that examples can be read.
MARK = b"<long>"
BODIES = st.one_of(
    TEXTS.map(str.encode),
    st.tuples(TEXTS, TEXTS).map(lambda two: two[0].encode() + MARK + two[1].encode()),
    st.tuples(TEXTS, st.sampled_from([b"\xe9", b"\xe2\x82", b"\xef\xbb\xbf"]), TEXTS).map(
        lambda three: three[0].encode() + three[1] + three[2].encode()
    ),
    st.tuples(TEXTS, TEXTS).map(lambda two: f"{two[0]}<long>{two[1]}".encode() + b"\xff,\n"),
)


@given(BODIES, st.lists(st.integers(0, 1 << 20), max_size=12), st.sampled_from([None, ","]))
def test_rows_and_refusals_do_not_depend_on_how_the_bytes_were_cut(
    body: bytes, places: list[int], delimiter: str | None
) -> None:
    body = body.replace(MARK, LONG.encode())
    assert read(cut(body, places), delimiter) == read([body], delimiter)


@given(BODIES)
def test_byte_by_byte_is_the_same_too(body: bytes) -> None:
    pieces = [
        piece
        for part in body.partition(MARK)
        for piece in ([LONG.encode()] if part == MARK else [bytes([byte]) for byte in part])
    ]
    assert read(pieces, ",") == read([b"".join(pieces)], ",")


TABLES = st.lists(
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8),
        min_size=2,
        max_size=4,
    ),
    min_size=1,
    max_size=8,
)


@given(TABLES, st.sampled_from(["\n", "\r\n", "\r"]), st.sampled_from(",;\t|"), st.booleans())
def test_whatever_a_csv_writer_writes_is_read_back(
    table: list[list[str]], end: str, delimiter: str, has_mark: bool
) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter, lineterminator=end, quoting=csv.QUOTE_ALL).writerows(
        table
    )
    body = text.getvalue().encode("utf-8-sig" if has_mark else "utf-8")
    assert cells(read([body], delimiter)) == table


def test_lines_are_counted_as_people_see_them() -> None:
    found, _ = read([b'a,b\r\n\r\n"1\n2",3\r4,5\n\n6,7'])
    assert found == [(1, ["a", "b"]), (3, ["1\n2", "3"]), (5, ["4", "5"]), (7, ["6", "7"])]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_the_one_that_splits_the_first_line_into_the_most(delimiter: str) -> None:
    rows = [["time", "a,b;c\td|e", "third"], ["1", "2", "3"]]
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows(rows)
    assert cells(read([text.getvalue().encode()])) == rows


def test_a_row_that_is_too_long_is_passed_over_alone() -> None:
    long = f'1,"{LONG}\n""{LONG}",2'
    found, ended_by = read([f"a,b,c\n{long}\n3,4,5\n".encode()])
    assert not ended_by
    assert found == [(1, ["a", "b", "c"]), (2, None), (4, ["3", "4", "5"])]
    found, _ = read([f"a\n{LONG}".encode()])
    assert found == [(1, ["a"]), (2, None)]


def test_a_row_of_just_the_size_is_a_row() -> None:
    line = "x" * (ROW_CHARACTERS_MAX - 1) + "\n"
    assert cells(read([f"a\n{line}x{line}b\n".encode()])) == [["a"], [line[:-1]], None, ["b"]]


def test_what_is_held_is_bounded_whatever_comes() -> None:
    rows = Rows(",")
    list(rows.feed(b'a,b\n1,"'))
    for _ in range(100):
        assert list(rows.feed(b"x" * PIECE_BYTES)) == []
        assert len(rows._held) <= ROW_CHARACTERS_MAX + PIECE_BYTES
    assert [row.cells for row in rows.feed(b'"\n2,3\n')] == [None, ["2", "3"]]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"a,b\n1,2\nM\xfcller,3\n", "line 3 is not UTF-8 (the byte 0xfc)"),
        (b"\xff\xfea\0", "line 1 is not UTF-8 (the byte 0xff)"),
        (b'a,b\n1,2\n3,"4" \n', "line 3: a quote inside"),
        (b'a,b\n1,"2\n\n3,4\n', "the row at line 2 opens a quote that is never closed"),
        (f'a,b\n1,"2{LONG}\n\n'.encode(), "the row at line 2 opens a quote that is never closed"),
        (f'a\n1,"{LONG}\n" \n'.encode(), "line 3: a quote inside"),
    ],
)
def test_what_leaves_a_rows_end_in_doubt_ends_the_reading_and_names_the_line(
    body: bytes, said: str
) -> None:
    assert said in read([body])[1]


def test_rows_before_the_doubtful_line_are_read() -> None:
    found, ended_by = read([b"a,b\n1,2\nM\xfcller,3\n4,5\n"])
    assert [row for _, row in found] == [["a", "b"], ["1", "2"]]
    assert "iconv -f latin1" in ended_by


def test_an_empty_body_has_no_rows() -> None:
    assert read([]) == ([], "")
    assert read([b"\xef\xbb\xbf\n\r\n"]) == ([], "")
