"""Rejected rows: safe to open, and back to what they were."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.uploads.rejected import Rejection, with_guard, without_guard, write_header, write_rows
from schemas.errors import Problem

CELLS = st.text(st.characters(codec="utf-8")) | st.text("'=+-@\t\r\n1.e", max_size=6)


@given(CELLS)
def test_a_guard_is_taken_off_again(cell: str) -> None:
    assert without_guard(with_guard(cell)) == cell


@given(CELLS)
def test_nothing_that_is_opened_runs(cell: str) -> None:
    guarded = with_guard(cell)
    if guarded[:1] in ("=", "@", "\t", "\r", "\n", "\0"):
        pytest.fail(f"{guarded!r} would run")
    if guarded[:1] in ("+", "-"):
        float(guarded)  # a number is one


@pytest.mark.parametrize("number", ["-5", "+1.5", "-.5", "1e-3", "-1E+5", "12"])
def test_numbers_stay_numbers(number: str) -> None:
    assert with_guard(number) == number


@pytest.mark.parametrize("cell", ["-5+cmd", "-", "+", "-1-1", "=1", "@a", "\uff1d1", "-\uff11"])
def test_formulas_get_an_apostrophe(cell: str) -> None:
    assert with_guard(cell) == "'" + cell


def test_a_report_holds_rows_as_they_were_and_every_reason() -> None:
    problems = [
        Problem("number_malformed", "must be a number", "/quantity"),
        Problem("row_malformed", "has 1 cells", ""),
    ]
    rows = [Rejection(7, 9, ["a,b", 'say "x"\n', "ü"], problems), Rejection(8, 11, None, problems)]
    text = (write_header(["a", "=b", "c"]) + write_rows(["a", "=b", "c"], rows)).decode()
    reason = "quantity: must be a number (number_malformed); row: has 1 cells (row_malformed)"
    assert list(csv.reader(io.StringIO(text, newline=""))) == [
        ["a", "'=b", "c", "rejected_row", "rejected_because"],
        ["a,b", 'say "x"\n', "ü", "7", reason],
        ["", "", "", "8", reason],
    ]
