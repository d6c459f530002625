"""Prices of single events and of cells, their fees and discounts included: two opinions agree."""

from fractions import Fraction
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from deploy.verify.oracle import (
    HUNDRED,
    Days,
    bounded,
    events_amount,
    line_amount,
    read_price,
    rounded,
    usage_amount,
)
from schemas.document import FEE_CELL, DocumentLine
from schemas.drafting import CutLine, ProductInput, draft_document
from schemas.money import AMOUNT_DIGITS, ONE, Amount, Price, Quantity, parse_price, parse_quantity
from schemas.periods import Part
from schemas.price import LinePrice, from_json, parse_line_price, price_events, to_json
from schemas.pricing.terms import EventFees

REF = UUID(int=1)
money = st.integers(0, 10**20).map(Price)
units = st.integers(-(10**21), 10**21).map(Quantity)
optional_money = st.none() | money
parts = (
    st.lists(st.integers(0, 366), min_size=3, max_size=3, unique=True)
    .map(sorted)
    .map(lambda days: Part(before=days[0], through=days[1], whole=days[2]))
)
modifiers = st.fixed_dictionaries(
    {
        "included_quantity": st.integers(0, 10**20).map(Quantity),
        "minimum_fee": optional_money,
        "discount_percent": st.integers(0, 100 * ONE).map(Price),
    }
)


def draft(price: LinePrice, part: Part, *lines: CutLine) -> list[DocumentLine]:
    product = ProductInput(REF, REF, 1, "Product", lines, part=part)
    return list(draft_document([product], "USD").products[0].lines)


def days_of(part: Part) -> Days:
    return Days(before=part.before, through=part.through, whole=part.whole)


@given(modifiers, money, st.builds(EventFees, money, included_events=st.integers(0, 3)),
       st.lists(units, max_size=6), parts)  # fmt: skip
def test_a_line_of_single_events_is_billed_as_a_second_opinion_bills_it(
    fields: dict[str, object], rate: Price, fees: EventFees, quantities: list[Quantity], part: Part
) -> None:
    kept = LinePrice("PERCENTAGE", price=rate, event_fees=fees, **fields)  # type: ignore[arg-type]
    price = from_json(to_json(kept))
    if price.event_fees is None:
        return
    amount = Amount(sum(price_events(price, quantities)))
    ours = read_price(to_json(price))
    usage = events_amount(ours, [Fraction(quantity, ONE) for quantity in quantities])
    assert usage == Fraction(amount, 10**AMOUNT_DIGITS)
    total = Quantity(sum(quantities))
    [line] = draft(price, part, CutLine(REF, REF, 1, "Cards", price, total, fees=amount))
    expected = line_amount(ours, Fraction(total, ONE), 0, days_of(part), 2, usage)
    assert Fraction(line.amount, 100) == expected


CELLS = ("", '["eu"]', '["us"]')


@given(modifiers, optional_money, st.lists(money, min_size=3, max_size=3),
       st.dictionaries(st.sampled_from(CELLS), units, min_size=1), parts)  # fmt: skip
def test_cells_and_the_fee_over_them_are_billed_as_a_second_opinion_bills_them(
    fields: dict[str, object],
    headroom: Price | None,
    prices: list[Price],
    totals: dict[str, Quantity],
    part: Part,
) -> None:
    listed = [{"values": ["eu"], "unit_price": "0"}, {"values": ["us"], "unit_price": "0"}]
    start = parse_line_price(
        {"model": "MATRIX", "price": "0", "dimensions": ["region"], "cells": listed}
    )
    cells = tuple(
        type(cell)(cell.values, each) for cell, each in zip(start.cells, prices[1:], strict=True)
    )
    least = fields["minimum_fee"]
    most = None if headroom is None else Price(headroom + (least or 0))  # type: ignore[operator]
    kept = LinePrice(
        "MATRIX", price=prices[0], dimensions=("region",), cells=cells, maximum_fee=most, **fields  # type: ignore[arg-type]
    )  # fmt: skip
    price = from_json(to_json(kept))
    rows = [
        CutLine(REF, REF, 1, "Requests", price, total, cell=cell) for cell, total in totals.items()
    ]
    lines = draft(price, part, *rows)
    ours, usage, amount = read_price(to_json(price)), Fraction(0), Fraction(0)
    for line in lines:
        if line.cell != FEE_CELL:
            own = usage_amount(ours, Fraction(totals[line.cell], ONE), 0, line.cell)
            usage += own
            amount += Fraction(line.amount, 100)
            assert Fraction(line.amount, 100) == rounded(own - own * ours.discount / HUNDRED, 2)
    whole = line_amount(ours, Fraction(0), 0, days_of(part), 2, usage)
    is_bounded = bounded(ours, usage, days_of(part), 2) != usage
    fees = [Fraction(line.amount, 100) for line in lines if line.cell == FEE_CELL]
    assert fees == ([whole - amount] if is_bounded else [])
    assert sum(Fraction(line.amount, 100) for line in lines) == (whole if is_bounded else amount)


def test_what_is_due_once_is_on_the_first_period_alone() -> None:
    set_up = parse_line_price({"model": "FLAT", "price": "50", "recurring": False})
    line = CutLine(REF, REF, 1, "Set-up", set_up, parse_quantity("1"))
    for is_first, count in ((True, 1), (False, 0)):
        product = ProductInput(REF, REF, 1, "P", [line], is_first_period=is_first)
        assert len(draft_document([product], "USD").products[0].lines) == count
    assert parse_price("50") == set_up.price
