"""Cells that spreadsheets read as they are meant: text as text, numbers as numbers."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.people_csv import people_row, text_cell


@pytest.mark.parametrize(
    "evil",
    [
        "=1+1",
        "+1",
        "-1",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "\n=1",
        "  =1",
        "\N{NO-BREAK SPACE}=1",
        "\N{FULLWIDTH EQUALS SIGN}1",
        "|calc",
        '=HYPERLINK("http://a",1)',
    ],
)
def test_what_looks_like_a_formula_gets_an_apostrophe(evil: str) -> None:
    [[cell]] = csv.reader(io.StringIO(text_cell(evil), newline=""))
    assert cell == f"'{evil}"


@pytest.mark.parametrize("plain", ["", "Calls", "3 seats", "a=b", '{"a":-1}', " ", "Ωμέγα"])
def test_other_text_stays_as_it_is(plain: str) -> None:
    assert next(csv.reader([people_row([text_cell(plain), ""])])) == [plain, ""]


@given(texts=st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=2))
def test_a_row_is_read_back_and_begins_no_formula(texts: list[str]) -> None:
    row = people_row(map(text_cell, texts))
    [cells] = csv.reader(io.StringIO(row, newline=""))
    for text, cell in zip(texts, cells, strict=True):
        assert cell in {text, f"'{text}"}
        assert not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
