"""The second opinion on money: right by tables, and of one mind with the product by properties."""

import json
from datetime import date
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from deploy.verify import oracle
from deploy.verify.check import CannotCheck
from deploy.verify.oracle import (
    Days,
    exact,
    line_amount,
    prorated,
    read_price,
    rounded,
    usage_amount,
)
from schemas.drafting import line_minor
from schemas.errors import InvalidInput
from schemas.money import (
    AMOUNT_DIGITS,
    ONE,
    QUANTITY_DIGITS,
    Price,
    Quantity,
    scaled_to_text,
)
from schemas.periods import Part
from schemas.price import (
    LinePrice,
    from_json,
    is_usage,
    parse_line_price,
    price_total,
    to_json,
)
from tests.pricing import expressions, total_prices

GRADUATED: dict[str, object] = {
    "model": "GRADUATED",
    "tiers": [
        {"up_to": "100", "unit_price": "1", "flat_fee": "5"},
        {"up_to": None, "unit_price": "0.5", "flat_fee": "2"},
    ],
}


def read(fields: dict[str, object]) -> oracle.Price:
    return read_price(json.dumps(fields))


@pytest.mark.parametrize(
    ("quantity", "amount"),
    [
        ("0", "5"),
        ("1", "6"),
        ("100", "105"),
        ("100.5", "107.25"),
        ("101", "107.5"),
        ("-1", "-6"),
    ],
)
def test_graduated_prices_every_unit_in_its_own_tier(quantity: str, amount: str) -> None:
    assert usage_amount(read(GRADUATED), Fraction(quantity), 0) == Fraction(amount)


def test_included_units_are_free_before_the_tiers() -> None:
    price = read({**GRADUATED, "included_quantity": "10"})
    assert usage_amount(price, Fraction(10), 0) == 5
    assert usage_amount(price, Fraction(12), 0) == 7


def test_a_flat_price_knows_its_own_quantity() -> None:
    price = read({"model": "FLAT", "price": "49", "quantity": "3"})
    assert price.quantity == 3
    assert usage_amount(price, Fraction(0), 0) == 147


def test_a_model_that_is_not_known_is_not_guessed_at() -> None:
    with pytest.raises(CannotCheck, match="BARTER"):
        usage_amount(read({"model": "BARTER", "price": "1"}), Fraction(1), 0)
    with pytest.raises(CannotCheck, match="not told by their total"):
        usage_amount(read({"model": "PERCENTAGE", "rate": "1", "fixed_fee": "1"}), Fraction(1), 0)


@pytest.mark.parametrize(
    ("fields", "quantity", "amount"),
    [
        ({**GRADUATED, "model": "VOLUME"}, "100", "105"),
        ({**GRADUATED, "model": "VOLUME"}, "101", "52.5"),
        ({**GRADUATED, "model": "STAIRSTEP", "tiers": [{"flat_fee": "7"}]}, "-9", "-7"),
        ({"model": "PACKAGE", "price": "2", "package_size": "10"}, "10.5", "4"),
        (
            {"model": "PACKAGE", "price": "2", "package_size": "10", "package_rounding": "DOWN"},
            "-19",
            "-2",
        ),
        ({"model": "PERCENTAGE", "rate": "2.5"}, "10", "0.25"),
        ({"model": "PERCENTAGE", "tiers": [{"up_to": "10", "rate": "50"}, {}]}, "12", "5"),
    ],
)
def test_every_model_of_a_total_is_known(
    fields: dict[str, object], quantity: str, amount: str
) -> None:
    assert usage_amount(read(fields), Fraction(quantity), 0) == Fraction(amount)


@pytest.mark.parametrize(
    ("value", "digits", "expected"),
    [
        ("0.005", 2, "0.01"),
        ("-0.005", 2, "-0.01"),
        ("0.0049999", 2, "0"),
        ("2.5", 0, "3"),
        ("-2.5", 0, "-3"),
        ("1.0005", 3, "1.001"),
    ],
)
def test_a_half_is_rounded_away_from_zero(value: str, digits: int, expected: str) -> None:
    assert rounded(Fraction(value), digits) == Fraction(expected)


def test_the_parts_of_a_cycle_add_up_to_the_whole_fee() -> None:
    fee = Fraction("100.01")
    parts = [prorated(fee, Days(before=a, through=a + 1, whole=31), 2) for a in range(31)]
    assert sum(parts) == fee


def test_days_are_those_of_the_half_open_period() -> None:
    days = Days.between(date(2026, 8, 10), date(2026, 9, 1), date(2026, 8, 1), date(2026, 9, 1))
    assert (days.before, days.through, days.whole) == (9, 31, 31)


@pytest.mark.parametrize("text", ["0", "12", "-12.5", "0.000000000000000000000000000000000001"])
def test_numbers_are_written_with_all_of_their_digits(text: str) -> None:
    assert exact(Fraction(text)) == f"{Decimal(text):f}"


def test_a_number_without_an_end_is_written_as_a_fraction() -> None:
    assert exact(Fraction(1, 3)) == "1/3"


signed = st.integers(min_value=-(10**30), max_value=10**30)
unit_prices = signed.map(Price)
fees = st.integers(min_value=0, max_value=10**24).map(Price)
quantities = st.integers(min_value=0, max_value=10**24).map(Quantity)


prices = total_prices(unit_prices, quantities, fees)


def stored(price: LinePrice) -> LinePrice:
    """Return the price as it is after it was stored: without what its model does not have."""
    return from_json(to_json(price))


@given(price=prices, quantity=signed)
def test_both_opinions_agree_on_every_unrounded_amount(price: LinePrice, quantity: int) -> None:
    text = to_json(price)
    ours = usage_amount(read_price(text), Fraction(quantity, 10**QUANTITY_DIGITS), 0)
    theirs = price_total(stored(price), Quantity(quantity))
    assert ours == Fraction(theirs, 10**AMOUNT_DIGITS)


@given(
    price=prices,
    quantity=signed,
    days=st.lists(st.integers(0, 366), min_size=3, max_size=3, unique=True).map(sorted),
    digits=st.sampled_from([0, 2, 3]),
)
def test_both_opinions_agree_on_every_billed_line(
    price: LinePrice, quantity: int, days: list[int], digits: int
) -> None:
    before, through, whole = days
    text = to_json(price)
    kept = stored(price)
    billed = Quantity(quantity) if is_usage(kept) else kept.quantity
    theirs = line_minor(kept, billed, Part(before, through, whole), digits)
    ours = line_amount(
        read_price(text),
        Fraction(scaled_to_text(billed, QUANTITY_DIGITS)),
        0,
        Days(before=before, through=through, whole=whole),
        digits,
    )
    assert ours == Fraction(theirs, 10**digits)


FORMULA_TIERS = [
    {"up_to": "100", "unit_price": "1", "flat_fee": "5"},
    {"unit_price": "0.5", "flat_fee": "2"},
]
FORMULA_NAMES = ("q", "q", "event_count", "graduated", "volume", "stairstep", "tiers[0].up_to")


@given(
    expressions(FORMULA_NAMES),
    st.sampled_from([0, 1, 100 * ONE, 10**24 + 1, -5 * ONE, 10**74]),
    st.sampled_from([0, 1, 7, 2**63]),
    st.sampled_from(["0", "33.3"]),
)
def test_both_opinions_agree_on_every_formula_that_is_taken(
    expression: str, quantity: int, event_count: int, discount: str
) -> None:
    """Whatever is taken has a value: neither opinion ever fails on it."""
    fields = {"model": "FORMULA", "expression": expression, "tiers": FORMULA_TIERS}
    try:
        price = parse_line_price(fields | {"discount": discount})
    except InvalidInput:
        reject()
    text = to_json(price)
    units = Fraction(quantity, ONE)
    theirs = Fraction(price_total(price, Quantity(quantity), event_count), 10**AMOUNT_DIGITS)
    assert oracle.stored(usage_amount(read_price(text), units, event_count)) == theirs
    days = Days(before=0, through=1, whole=1)
    ours = line_amount(read_price(text), units, event_count, days, 2)
    billed = line_minor(price, Quantity(quantity), Part(0, 1, 1), 2, event_count)
    assert ours == Fraction(billed, 100)


def test_a_formula_is_read_to_the_last_digit_and_rounds_as_the_other_does() -> None:
    for expression, amount in [
        ("0.1 + 0.2", "0.3"),
        ("round(2.5) + round(-2.5) + round(0.125, 2)", "0.13"),
        ("floor(-1.5) + ceil(-1.5) + ceil(1234, -2)", "1297"),
        ("if(not q == 3 and true, 1, 2 - 3 * 4)", "-10"),
        ("007 + 00.50 + 10.05", "17.55"),
        ("length('true 007')", "8"),
    ]:
        price = read({"model": "FORMULA", "expression": expression})
        assert usage_amount(price, Fraction(3), 0) == Fraction(amount)


@pytest.mark.parametrize("expression", ["q +", "nothing", "sqrt(q)", "q / 0", "q ** 2"])
def test_a_formula_that_is_not_known_is_not_guessed_at(expression: str) -> None:
    with pytest.raises(CannotCheck):
        usage_amount(read({"model": "FORMULA", "expression": expression}), Fraction(1), 0)
