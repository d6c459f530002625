"""What a report's query means: instants, the refs between them, cursors, and cells."""

from contextlib import suppress
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.manage.body import Body
from gateway.reports.asking import Asked, cursor_of, names_of, read_asked, read_cursor
from gateway.reports.summary import safe_cell
from schemas.errors import InvalidInput
from schemas.event_ref import MONTHS, keyed_event_ref, month_of, with_month

CUSTOMER = "00000000-0000-4000-8000-000000000001"


def asked(**query: str) -> Asked:
    body = Body({"customer_ref": CUSTOMER, **query}, unknown_code="unknown_field")
    read = read_asked(body.fields)
    body.finish()
    return read


def test_a_day_stands_for_its_first_instant_in_utc() -> None:
    assert asked(to="2024-03-01").end == datetime(2024, 3, 1, tzinfo=UTC)
    assert asked(to="2024-03-01T02:00:00+02:00").end == datetime(2024, 3, 1, tzinfo=UTC)


def test_refs_are_bounded_by_the_months_that_the_instants_touch() -> None:
    low, high = asked(**{"from": "2024-02-10", "to": "2024-03-01"}).refs()
    assert month_of(low.int) == 24 * 12 + 1
    assert month_of(high.int) == 24 * 12 + 2
    low, high = asked(**{"from": "2024-02-10", "to": "2024-03-01T00:00:00.000001Z"}).refs()
    assert month_of(high.int) == 24 * 12 + 3


def test_without_bounds_every_month_of_the_api_is_in() -> None:
    low, high = asked().refs()
    assert low.int == 0
    assert month_of(high.int) == 300 * 12


@given(st.uuids())
def test_a_cursor_reads_back(ref: UUID) -> None:
    assert read_cursor(cursor_of(ref)) == ref


@given(st.text(max_size=40))
def test_any_other_text_is_no_cursor_or_a_ref(text: str) -> None:
    with suppress(InvalidInput):
        assert isinstance(read_cursor(text), UUID)


@given(st.integers(0, MONTHS - 1))
def test_an_event_is_looked_for_under_its_ref_first_and_a_month_to_either_side(month: int) -> None:
    ref = keyed_event_ref(month, 7, 3, 1 << 60)
    names = names_of(UUID(int=ref))
    assert names[0].int == ref
    assert {month_of(name.int) for name in names} <= {month - 1, month, month + 1}
    assert {with_month(name.int, 0) for name in names} == {with_month(ref, 0)}


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1"])
def test_no_cell_is_a_formula(text: str) -> None:
    assert safe_cell(text) == "'" + text
    assert safe_cell("a" + text) == "a" + text
