"""What a quantity costs: a table a model, and properties against sums of plain fractions."""

from decimal import Decimal
from fractions import Fraction
from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import InvalidInput
from schemas.money import AMOUNT_DIGITS, ONE, Amount, Price, Quantity, parse_quantity
from schemas.price import (
    MODELS,
    LinePrice,
    Tier,
    billable_quantity,
    bounded_amount,
    from_json,
    parse_line_price,
    price_total,
    tier_walk,
    to_json,
)
from schemas.pricing.terms import ModelName

TIERED: dict[str, object] = {
    "model": "GRADUATED",
    "tiers": [
        {"up_to": 100, "unit_price": "0.10", "flat_fee": "2"},
        {"up_to": 1000, "unit_price": "0.05", "flat_fee": "5"},
        {"up_to": None, "unit_price": "0.01"},
    ],
}

quantities = st.integers(-(10**23), 10**23).map(Quantity)
usage = st.integers(0, 10**23).map(Quantity)
prices = st.integers(0, 10**22).map(Price)


@st.composite
def graduated(draw: st.DrawFn) -> LinePrice:
    bounds = sorted(draw(st.sets(st.integers(1, 10**22), max_size=6)))
    tiers = tuple(
        Tier(up_to, draw(prices), draw(prices)) for up_to in [*map(Quantity, bounds), None]
    )
    included = Quantity(draw(st.sampled_from([0, 0, ONE, 10**21])))
    return LinePrice("GRADUATED", tiers=tiers, included_quantity=included)


@st.composite
def lines(draw: st.DrawFn) -> LinePrice:
    if draw(st.booleans()):
        return draw(graduated())
    included = Quantity(draw(st.sampled_from([0, ONE, 10**21])))
    return LinePrice("PER_UNIT", price=draw(prices), included_quantity=included)


def money(amount: Amount) -> Fraction:
    return Fraction(amount, 10**AMOUNT_DIGITS)


def fraction(value: int) -> Fraction:
    return Fraction(value, ONE)


def by_hand(price: LinePrice, quantity: Quantity) -> Fraction:
    """Price with fractions alone, unit range by unit range, as one would on paper."""
    units = max(abs(fraction(quantity)) - fraction(price.included_quantity), Fraction(0))
    if price.model == "PER_UNIT":
        total = units * fraction(price.price)
    else:
        lower, total = Fraction(0), Fraction(0)
        for index, tier in enumerate(price.tiers):
            if index == 0 or units > lower:
                total += fraction(tier.flat_fee)
            upper = units if tier.up_to is None else min(units, fraction(tier.up_to))
            total += max(upper - lower, Fraction(0)) * fraction(tier.unit_price)
            lower = lower if tier.up_to is None else fraction(tier.up_to)
    return -total if quantity < 0 else total


@pytest.mark.parametrize(
    ("quantity", "amount"),
    [
        ("0", "2"),  # tier 1 is entered at zero: its flat fee is due
        ("0.5", "2.05"),
        ("100", "12"),  # a bound belongs to the lower tier
        ("100.5", "17.025"),  # half a unit in the next tier, which charges its flat fee
        ("1000", "62"),
        ("1000.000000000000000001", "62.00000000000000000001"),
        ("3000", "82"),
        ("-100.5", "-17.025"),  # by magnitude, the sign kept
    ],
)
def test_graduated_prices_each_unit_in_its_own_tier(quantity: str, amount: str) -> None:
    price = parse_line_price(TIERED)
    assert money(price_total(price, parse_quantity(quantity))) == Fraction(amount)


@pytest.mark.parametrize(
    ("quantity", "amount"), [("0", "0"), ("3", "0.3"), ("1.25", "0.125"), ("-3", "-0.3")]
)
def test_per_unit_prices_every_unit_alike(quantity: str, amount: str) -> None:
    price = parse_line_price({"model": "PER_UNIT", "price": "0.1"})
    assert money(price_total(price, parse_quantity(quantity))) == Fraction(amount)


def test_flat_costs_price_times_its_own_quantity_whatever_the_usage() -> None:
    seats = parse_line_price({"model": "FLAT", "price": "9.99", "quantity": 3})
    single = parse_line_price({"model": "FLAT", "price": "9.99"})
    for used in ("0", "1000", "-5"):
        assert money(price_total(seats, parse_quantity(used))) == Fraction("29.97")
        assert money(price_total(single, parse_quantity(used))) == Fraction("9.99")


@pytest.mark.parametrize(
    ("quantity", "billed"),
    [("5", "0"), ("10", "0"), ("110.5", "100.5"), ("-5", "0"), ("-12", "-2")],
)
def test_the_included_quantity_is_taken_off_before_tiers(quantity: str, billed: str) -> None:
    total = parse_quantity(quantity)
    price = parse_line_price(TIERED | {"included_quantity": "10"})
    assert billable_quantity(price, total) == parse_quantity(billed)
    plain = parse_line_price(TIERED)
    expected = price_total(plain, Quantity(abs(parse_quantity(billed))))
    assert price_total(price, total) == (-expected if total < 0 else expected)


@given(lines(), quantities)
def test_the_total_is_what_one_gets_by_hand(price: LinePrice, quantity: Quantity) -> None:
    assert money(price_total(price, quantity)) == by_hand(price, quantity)


@given(graduated(), quantities)
def test_the_walk_conserves_units_and_money(price: LinePrice, quantity: Quantity) -> None:
    walk = tier_walk(price, quantity)
    assert sum(charge.quantity for charge in walk) == billable_quantity(price, quantity)
    assert sum(charge.amount for charge in walk) == price_total(price, quantity)
    for charge in walk:
        assert charge.amount == charge.quantity * charge.unit_price + charge.flat_fee * ONE
    assert [charge.up_to for charge in walk] == [tier.up_to for tier in price.tiers][: len(walk)]


@given(lines(), usage, usage)
def test_more_usage_never_costs_less(price: LinePrice, one: Quantity, other: Quantity) -> None:
    less, more = sorted((one, other))
    assert price_total(price, less) <= price_total(price, more)


@given(graduated(), usage, st.data())
def test_splitting_a_tier_in_two_alike_changes_nothing(
    price: LinePrice, quantity: Quantity, data: st.DataObject
) -> None:
    index = data.draw(st.integers(0, len(price.tiers) - 1))
    tier = price.tiers[index]
    lower = price.tiers[index - 1].up_to if index else Quantity(0)
    upper = tier.up_to or Quantity(10**24)
    assert lower is not None
    if upper - lower < 2:
        return
    middle = Quantity(data.draw(st.integers(lower + 1, upper - 1)))
    halves = (
        Tier(middle, tier.unit_price, tier.flat_fee),
        Tier(tier.up_to, tier.unit_price, Price(0)),
    )
    split = msgspec.structs.replace(
        price, tiers=(*price.tiers[:index], *halves, *price.tiers[index + 1 :])
    )
    assert price_total(split, quantity) == price_total(price, quantity)


@given(lines(), quantities)
def test_the_sign_turns_the_amount_and_nothing_else(price: LinePrice, quantity: Quantity) -> None:
    if quantity:
        assert price_total(price, Quantity(-quantity)) == -price_total(price, quantity)


@pytest.mark.parametrize("fields", [TIERED, {"model": "PER_UNIT", "price": 1}])
def test_only_tiered_models_have_a_walk(fields: dict[str, object]) -> None:
    assert bool(tier_walk(parse_line_price(fields), Quantity(ONE))) == ("tiers" in fields)


@pytest.mark.parametrize(
    ("amount", "minimum", "maximum", "discount", "result"),
    [
        ("5", "10", None, "0", "10"),
        ("50", "10", "20", "0", "20"),
        ("15", "10", "20", "0", "15"),
        ("-5", "10", None, "0", "10"),
        ("15", "10", "20", "50", "7.5"),  # the bounds first, then the discount
        ("5", "10", None, "12.5", "8.75"),
        ("15", None, None, "100", "0"),
    ],
)
def test_fees_bound_the_amount_before_the_discount(
    amount: str, minimum: str | None, maximum: str | None, discount: str, result: str
) -> None:
    line = LinePrice("PER_UNIT", discount_percent=Price(parse_quantity(discount)))
    low, high = (None if fee is None else Fraction(fee) for fee in (minimum, maximum))
    assert bounded_amount(line, Fraction(amount), low, high) == Fraction(result)


@given(lines())
def test_the_stored_form_gives_the_same_price_and_is_canonical(price: LinePrice) -> None:
    assert from_json(to_json(price)) == price
    assert to_json(from_json(to_json(price))) == to_json(price)


def test_the_stored_form_holds_every_field_as_exact_text() -> None:
    flat = parse_line_price(
        {
            "model": "FLAT",
            "price": Decimal("9.990"),
            "quantity": "1e1",
            "recurring": "false",
            "included_quantity": 1,
            "minimum_fee": "1.50",
            "maximum_fee": 2000,
            "discount": "12.5",
            "currency": "EUR",
        }
    )
    assert to_json(flat) == (
        '{"model":"FLAT","price":"9.99","quantity":"10","recurring":false,"included_quantity":"1",'
        '"minimum_fee":"1.5","maximum_fee":"2000","discount":"12.5","currency":"EUR"}'
    )
    assert from_json(to_json(flat)) == flat


def test_raw_json_is_read_to_the_last_digit() -> None:
    fields = {
        "model": msgspec.Raw(b'"GRADUATED"'),
        "tiers": msgspec.Raw(
            b'[{"unit_price":0.000000000000000001,"flat_fee":12345678901234567890}]'
        ),
    }
    tier = parse_line_price(fields).tiers[0]
    assert (tier.unit_price, tier.flat_fee) == (1, 12345678901234567890 * ONE)


def test_every_model_is_reachable_by_name_and_says_which_fields_are_its_own() -> None:
    assert set(MODELS) == set(get_args(ModelName))
    for model in MODELS.values():
        assert not model.required & model.optional


def test_a_price_of_another_model_is_refused_when_it_was_stored_wrong() -> None:
    with pytest.raises(InvalidInput):
        from_json('{"model":"GRADUATED","price":"1"}')
