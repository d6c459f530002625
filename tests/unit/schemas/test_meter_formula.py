"""Formulas of meters: what an event's billable quantity is, and what has none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import InvalidInput, InvalidUsageEvent
from schemas.meter_formula import parse_formula
from schemas.money import ONE

D = "additional_report_data"


@pytest.mark.parametrize(
    ("text", "quantity", "data", "expected"),
    [
        ("quantity * 2", 3 * ONE, None, 6 * ONE),
        (f"quantity * {D}.minutes / 60", 3 * ONE, '{"minutes":90}', 4 * ONE + ONE // 2),
        (f"quantity * {D}.share", ONE, '{"share":0.1}', ONE // 10),
        (f"number({D}.seats) + {D}.more[1]", 0, '{"seats":"3","more":[1,2]}', 5 * ONE),
        (f"if({D}.plan == 'free', 0, quantity)", 7 * ONE, '{"plan":"free"}', 0),
        (f"if({D}.plan == 'free', 0, quantity)", 7 * ONE, '{"plan":"pro"}', 7 * ONE),
        (f"quantity - coalesce({D}.included, 1)", 3 * ONE, None, 2 * ONE),
        ("quantity / 3", ONE, None, 333333333333333333),
        ("quantity / 3 * 2", ONE, None, 666666666666666667),
        ("-quantity / 3 * 2", ONE, None, -666666666666666667),
        ("1", 0, None, ONE),
    ],
)
def test_a_formula_gives_the_billable_quantity(
    text: str, quantity: int, data: str | None, expected: int
) -> None:
    assert parse_formula(text).billable(quantity, data) == expected


@pytest.mark.parametrize(
    ("text", "quantity", "data", "pointer"),
    [
        (f"quantity * {D}.minutes", ONE, None, f"/{D}"),
        (f"quantity * {D}.minutes", ONE, '{"minutes":null}', f"/{D}"),
        (f"quantity * {D}.minutes", ONE, '{"minutes":"3"}', f"/{D}"),
        (f"quantity * {D}.minutes", ONE, '{"minutes":{"a":1}}', f"/{D}"),
        (f"quantity / {D}.parts", ONE, '{"parts":0}', f"/{D}"),
        ("1 / quantity", 0, None, "/quantity"),
        ("quantity * quantity", 10**12 * ONE, None, "/quantity"),
        ("quantity == 1", ONE, None, "/quantity"),
        ("'many'", ONE, None, "/quantity"),
    ],
)
def test_an_event_without_a_value_is_to_blame(
    text: str, quantity: int, data: str | None, pointer: str
) -> None:
    with pytest.raises(InvalidUsageEvent) as refused:
        parse_formula(text).billable(quantity, data)
    (problem,) = refused.value.problems
    assert (problem.code, problem.pointer) == ("formula_failed", pointer)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "quantity +",
        "amount",
        D,
        "quantity.size",
        "quantity + q",
        "__import__('os')",
        "1 " * 9_999,
    ],
)
def test_what_is_no_formula_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_formula(text)


@given(st.integers(-(10**38), 10**38), st.integers(-(10**9), 10**9))
def test_a_product_is_exact(quantity: int, factor: int) -> None:
    formula = parse_formula(f"quantity * {D}.factor / 1000")
    data = f'{{"factor":{factor}}}'
    product = quantity * factor
    half_up = (2 * abs(product) + 1000) // 2000 * (1 if product >= 0 else -1)
    if abs(half_up) >= 10**38:
        with pytest.raises(InvalidUsageEvent):
            formula.billable(quantity, data)
    else:
        assert formula.billable(quantity, data) == half_up
