"""What an entity may call its documents."""

from datetime import date

import pytest

from schemas.document_number import check_number_format, format_number, series_of
from schemas.errors import InvalidInput

DAY = date(2026, 9, 1)


@pytest.mark.parametrize(
    ("number_format", "number", "shown"),
    [
        ("INV-{year}-{number:03}", 7, "INV-2026-007"),
        ("INV-{year}-{number:03}", 12_345, "INV-2026-12345"),
        ("US-INV-{number}", 7, "US-INV-7"),
        ("{number:08d}", 7, "00000007"),
        ("{{{number}}}", 7, "{7}"),
        ("{number}/{year}/{number}", 7, "7/2026/7"),
    ],
)
def test_a_format_is_filled_in(number_format: str, number: int, shown: str) -> None:
    assert format_number(number_format, number, DAY) == shown


def test_a_series_restarts_each_year_only_where_the_year_is_shown() -> None:
    assert series_of("INV-{year}-{number}", DAY) == "2026"
    assert series_of("INV-{number}", DAY) == ""


@pytest.mark.parametrize(
    "number_format",
    [
        "INV",
        "INV-{year}",
        "{number",
        "{}",
        "{0}",
        "{number!r}",
        "{number:>5}",
        "{number:099}",
        "{number:3}",
        "{number:0{year}}",
        "{year:05}{number}",
        "{number.real}",
        "{number.__class__}",
        "{number[0]}",
        "{customer}-{number}",
        "INV-\n{number}",
        "x" * 60 + "{number}",
    ],
)
def test_what_could_repeat_or_reach_further_is_refused(number_format: str) -> None:
    with pytest.raises(InvalidInput, match="document_number_format_malformed"):
        check_number_format(number_format)
