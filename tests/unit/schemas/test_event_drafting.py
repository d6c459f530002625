"""Documents of single events: each bills what it moves its lines by, and together they add up."""

from collections.abc import Mapping
from uuid import UUID

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from schemas.drafting import CutLine, ProductInput, draft_document
from schemas.event_drafting import draft_difference
from schemas.money import ONE, Price, Quantity
from schemas.price import parse_line_price

REF = UUID(int=1)
TIERS: Mapping[str, object] = {
    "model": "GRADUATED",
    "tiers": [
        {"up_to": "2.5", "unit_price": "0.333", "flat_fee": "1"},
        {"up_to": None, "unit_price": "0.115"},
    ],
}
PER_UNIT: Mapping[str, object] = {"model": "PER_UNIT", "price": "0.014"}


def product(quantity: int) -> ProductInput:
    lines = [
        CutLine(REF, UUID(int=n), 1, item, parse_line_price(price), quantity=Quantity(quantity))
        for n, (item, price) in enumerate((("Tiers", TIERS), ("Units", PER_UNIT)))
    ]
    percent = Price(10 * ONE)
    return ProductInput(
        *(REF, REF, 0, "Platform", lines), discount_percent=percent, tax_percent=percent
    )


@given(st.lists(st.integers(-5 * ONE, 5 * ONE), min_size=1, max_size=20))
def test_the_lines_of_a_periods_events_add_up_to_the_lines_of_the_period(uses: list[int]) -> None:
    nothing = draft_document([product(0)], "USD")
    drafts, total = [nothing], 0
    sums = [0, 0]
    for use in uses:
        total += use
        drafts.append(draft_document([product(total)], "USD"))
        document = draft_difference(drafts[-1], drafts[-2])
        (shown,) = document.products
        assert [line.quantity for line in shown.lines] == [use, use]
        sums = [left + line.amount for left, line in zip(sums, shown.lines, strict=True)]
        assert document.sub_total == sum(line.amount for line in shown.lines)
        assert document.total == document.sub_total - document.total_discount + document.total_tax
        assert (document.accounting_event_type == "CREDIT") == (document.total < 0)
    first, last = nothing.products[0].lines, drafts[-1].products[0].lines
    assert sums == [b.amount - a.amount for a, b in zip(first, last, strict=True)]


def test_a_periods_minimum_is_no_events_affair() -> None:
    with_minimum = msgspec.structs.replace(product(ONE), minimum_fee=Price(1_000 * ONE))
    before = draft_document([product(0)], "USD")
    document = draft_difference(draft_document([with_minimum], "USD"), before)
    assert document.sub_total == sum(line.amount for line in document.products[0].lines)
    assert document.products[0].minimum_fee is None
