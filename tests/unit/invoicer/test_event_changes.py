"""Events billed one by one: whatever comes, changes and goes, documents add up to the lines."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any
from uuid import UUID

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from deploy.verify.oracle import Days, cell_of, events_amount, line_amount, read_price, usage_amount
from invoicer.assembly import ProductTerms
from invoicer.event_changes import (
    Affected,
    Change,
    EventLine,
    Totals,
    Use,
    draft_change,
    is_empty,
    move,
    periods_of,
    product_input,
    read_tally,
    write_tally,
)
from schemas.money import ONE
from schemas.price import parse_line_price, to_json

PRODUCT, PERIOD, ROOT = UUID(int=1), UUID(int=2), UUID(int=3)
MONDAY = datetime(2026, 8, 3, tzinfo=UTC)
PRICES: list[dict[str, Any]] = [
    {
        "model": "GRADUATED",
        "tiers": [{"up_to": "10", "unit_price": "0.333", "flat_fee": "2"}, {"unit_price": "0.1"}],
    },
    {"model": "PERCENTAGE", "rate": "2.9", "fixed_fee": "0.3", "discount": "10"},
    {
        "model": "MATRIX",
        "price": "0.5",
        "dimensions": ["region"],
        "cells": [{"values": ["eu"], "unit_price": "0.125"}],
        "minimum_fee": "4",
    },
    {"model": "PACKAGE", "price": "1.25", "package_size": "3"},
]
LINES = [
    EventLine(
        contract_line_ref=UUID(int=10 + n),
        contract_product_ref=PRODUCT,
        pricing_line_id=n,
        line_item_ref=UUID(int=20 + n),
        item=f"Line {n}",
        price=parse_line_price(price),
        meter_id=1,
        aggregation="COUNT" if price["model"] == "PACKAGE" else "SUM",
        formula=None,
    )
    for n, price in enumerate(PRICES)
]
TERMS = msgspec.convert(
    {
        **dict.fromkeys(("minimum_fee", "billing_end_date", "issue_day")),
        **{"contract_product_ref": PRODUCT, "contract_ref": PRODUCT, "lineage_ref": PRODUCT},
        "position": 0,
        **{"document_group": 0, "product_name": "API", "currency": "USD", "timezone": "UTC"},
        **{"net_terms": "DUE_UPON_USAGE", "tax": Decimal(19), "discount": Decimal(5)},
        **{"commitments": "[]", "credits": "[]", "billing_start_date": date(2026, 8, 1)},
        **{"cycle_unit": "MONTHLY", "cycle_length": 1, "payment_time": "AFTER_USE"},
    },
    ProductTerms,
)
uses = st.builds(
    Use,
    st.integers(0, 40).map(lambda days: MONDAY + timedelta(days=days)),  # some in September
    st.integers(-300, 3_000).map(lambda hundredths: hundredths * ONE // 100),
    st.sampled_from([None, '{"region":"eu"}', '{"region":"us"}']),
)
stories = st.lists(st.tuples(st.integers(1, 6), st.none() | uses), min_size=1, max_size=25)


def by_hand(counted: dict[int, Use]) -> list[Fraction]:
    """Price each line of August for the events that count, in fractions."""
    days = Days(before=0, through=31, whole=31)
    own = [(use.at, ref, use) for ref, use in counted.items() if use.at.month == 8]
    ordered = [use for *_, use in sorted(own, key=lambda one: one[:2])]
    quantities = [Fraction(use.quantity, ONE) for use in ordered]
    amounts = []
    for line in LINES:
        price = read_price(to_json(line.price))
        total = (
            Fraction(len(ordered)) if line.aggregation == "COUNT" else sum(quantities, Fraction())
        )
        usage = None
        if price.each is not None:
            usage = events_amount(price, quantities)
        if price.model == "MATRIX":
            cells: dict[str, Fraction] = {}
            for use, quantity in zip(ordered, quantities, strict=True):
                cell = cell_of(price, use.data)
                cells[cell] = cells.get(cell, Fraction()) + quantity
            usage = sum((usage_amount(price, q, 0, c) for c, q in cells.items()), Fraction())
        amounts.append(line_amount(price, total, len(ordered), days, 2, usage))
    return amounts


@given(stories)
def test_documents_of_events_add_up_to_what_the_lines_come_to(
    story: list[tuple[int, Use | None]],
) -> None:
    totals: Totals = {}
    counted: dict[int, Use] = {}
    sums = by_hand({})
    for due_id, (ref, use) in enumerate(story):
        change = Change(due_id, UUID(int=ref), 0, 1, counted.get(ref), use, ref not in counted)
        counted = {**counted, ref: use} if use else {k: v for k, v in counted.items() if k != ref}
        august = [one for one in periods_of(change, TERMS) if one.start.month == 8]
        for period in august:
            affected = Affected(TERMS, period, PERIOD, ROOT)
            before = {place: msgspec.structs.replace(total) for place, total in totals.items()}
            assert move(totals, affected, LINES, change) == []
            before |= {place: type(totals[place])() for place in totals.keys() - before.keys()}
            states = [[product_input(affected, LINES, state)] for state in (totals, before)]
            draft = draft_change("USD", [ROOT], *states)
            for line in draft.products[0].lines:
                at = [own.contract_line_ref for own in LINES].index(line.contract_line_ref)
                sums[at] += Fraction(line.amount, 100)
            [part] = draft.adjustments
            assert (part.sub_total, part.total_tax) == (draft.sub_total, draft.total_tax)
            assert draft.total == draft.sub_total - draft.total_discount + draft.total_tax
        if not august:
            assert change.before is None or change.before.at.month == 9
        tallies = [total.tally for total in totals.values()]
        assert [read_tally(write_tally(tally)) for tally in tallies] == tallies
    expected = by_hand(counted)
    # Cells are rounded one by one, so the fee of all of them makes the whole exact where it is due.
    assert [abs(a - b) <= Fraction(2, 100) for a, b in zip(sums, expected, strict=True)] == [
        True
    ] * 4
    assert [sums[0], sums[1], sums[3]] == [expected[0], expected[1], expected[3]]


def test_a_change_of_nothing_says_nothing() -> None:
    totals: Totals = {}
    use = Use(MONDAY, ONE, None)
    [period] = periods_of(Change(1, UUID(int=1), -1, 1, None, use, True), TERMS)
    affected = Affected(TERMS, period, PERIOD, ROOT)
    state = [product_input(affected, LINES, totals)]
    assert is_empty(draft_change("USD", [ROOT], state, state))
