"""A document and its adjustments add up to the document that would be drawn at the last cut."""

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from schemas.adjustments import (
    Billed,
    BilledLine,
    BilledProduct,
    carry,
    difference,
    with_credits,
)
from schemas.commitments import Commitment, TrueUp
from schemas.document import DraftedDocument
from schemas.drafting import CutLine, ProductInput, draft_document
from schemas.money import AMOUNT_DIGITS, QUANTITY_DIGITS, Price, parse_price, parse_quantity
from schemas.periods import Part
from schemas.price import parse_line_price

PRODUCT, PERIOD, ROOT = UUID(int=1), UUID(int=2), UUID(int=3)
PRICES = [
    parse_line_price({"model": "PER_UNIT", "price": "0.0033"}),
    parse_line_price(
        {
            "model": "VOLUME",
            "tiers": [{"up_to": 10, "unit_price": "2"}, {"unit_price": "1", "flat_fee": "3"}],
        }
    ),
    parse_line_price({"model": "PACKAGE", "price": "2.5", "package_size": "7"}),
    parse_line_price(
        {
            "model": "GRADUATED",
            "included_quantity": "5",
            "tiers": [{"up_to": "100.5", "unit_price": "0.3"}, {"unit_price": "0.1"}],
        }
    ),
]


def drawn(quantities: Sequence[str], cut_number: int) -> DraftedDocument:
    """Draw a document of a discounted, taxed product with a minimum fee, in part of a period."""
    lines = [
        CutLine(
            line_item_ref=UUID(int=20 + n),
            contract_line_ref=UUID(int=10 + n),
            pricing_line_id=n,
            item=f"Item {n}",
            price=price,
            quantity=parse_quantity(quantity),
            event_count=len(quantity),
        )
        for n, (price, quantity) in enumerate(zip(PRICES, quantities, strict=True))
    ]
    product = ProductInput(
        contract_product_ref=PRODUCT,
        period_ref=PERIOD,
        cut_number=cut_number,
        product_name="API",
        lines=lines,
        part=Part(before=3, through=20, whole=31),
        minimum_fee=parse_price("20"),
        commitments=[Commitment("PERIOD", parse_price("150"))],
        discount_percent=parse_price("12.5"),
        tax_percent=parse_price("19"),
    )
    return draft_document([product], "USD")


def added_up(documents: Sequence[DraftedDocument]) -> Billed:
    """Add documents up, as the database does."""
    fees = dict.fromkeys(("minimum_fee", "sub_total", "total", "discount"), 0)
    lines: dict[tuple[UUID, str], BilledLine] = {}
    for document in documents:
        for product in document.products:
            for name in fees:
                fees[name] += getattr(product, name) or 0
            for line in product.lines:
                key = (line.contract_line_ref, line.cell)
                known = lines.get(key, BilledLine(Fraction(0), 0, 0))
                lines[key] = BilledLine(
                    known.quantity + Fraction(line.quantity, 10**QUANTITY_DIGITS),
                    known.amount + line.amount,
                    known.event_count + line.event_count,
                )
    stated = [one for d in documents for product in d.products for one in product.true_ups]
    true_up = [sum(getattr(one, n) for one in stated) for n in ("committed", "spent", "added")]
    product_so_far = BilledProduct(
        minimum_fee=fees["minimum_fee"],
        sub_total=fees["sub_total"],
        total=fees["total"],
        discount=fees["discount"],
        discount_percent=Price(0),
        tax_percent=Price(0),
        lines=lines,
        true_ups=(TrueUp("PERIOD", *true_up),),
    )
    return Billed(
        products={(PRODUCT, PERIOD): product_so_far},
        total_tax=sum(document.total_tax for document in documents),
        adjustments=len(documents) - 1,
    )


quantity = st.decimals(-500, 5_000, places=3).map(str)
totals = st.tuples(quantity, quantity, quantity, quantity)


@given(st.lists(totals, min_size=1, max_size=5))
def test_a_document_and_its_adjustments_are_the_document_of_the_last_cut(
    cuts: list[tuple[str, ...]],
) -> None:
    documents = [drawn(cuts[0], 1)]
    for number, quantities in enumerate(cuts[1:], 2):
        adjustment = difference(drawn(quantities, number), added_up(documents), ROOT)
        if adjustment is not None:
            documents.append(adjustment)
            closes = adjustment.sub_total - adjustment.total_discount + adjustment.total_tax
            assert adjustment.total == closes
            assert adjustment.accounting_event_type == (
                "CREDIT" if adjustment.total < 0 else "DEBIT"
            )
    last = drawn(cuts[-1], len(cuts))
    assert replace(added_up(documents), adjustments=0) == added_up([last])
    assert difference(last, added_up(documents), ROOT) is None
    assert sum(document.total for document in documents) == last.total


def tiers_by_hand(quantity: str) -> list[Fraction]:
    """Return what is in each tier of the graduated price, by the units behind those included."""
    used = Fraction(quantity)
    units = max(abs(used) - 5, Fraction(0))
    sign = -1 if used < 0 else 1
    bound = Fraction("100.5")
    return [sign * min(units, bound), sign * max(units - bound, Fraction(0))]


@given(st.lists(quantity, min_size=2, max_size=5))
def test_a_difference_says_what_moved_in_each_tier(quantities: list[str]) -> None:
    documents = [drawn(("0", "0", "0", quantities[0]), 1)]
    for number, (before, now) in enumerate(pairwise(quantities), 2):
        adjustment = difference(drawn(("0", "0", "0", now), number), added_up(documents), ROOT)
        moved = [n - b for n, b in zip(tiers_by_hand(now), tiers_by_hand(before), strict=True)]
        if adjustment is None:
            assert Fraction(now) == Fraction(before)
            continue
        documents.append(adjustment)
        [line] = adjustment.products[0].lines
        bounds = [parse_quantity("100.5"), None]
        found = {tier.up_to: Fraction(tier.quantity, 10**QUANTITY_DIGITS) for tier in line.tiers}
        assert [found.get(bound, 0) for bound in bounds] == moved
        amounts = sum(tier.amount for tier in line.tiers)
        assert amounts == (moved[0] * 3 + moved[1]) * 10 ** (AMOUNT_DIGITS - 1)


@given(totals, st.lists(st.tuples(totals, totals, st.integers(-500, 500)), max_size=3))
def test_what_a_document_takes_along_adds_up_beside_its_own(
    own: tuple[str, ...], others: list[tuple[tuple[str, ...], tuple[str, ...], int]]
) -> None:
    document = drawn(own, 1)
    adjustments = []
    for number, (before, after, credits_amount) in enumerate(others):
        root = UUID(int=100 + number)
        found = difference(drawn(after, 2), added_up([drawn(before, 1)]), root)
        if found is not None:
            adjustments.append(with_credits(found, credits_amount))
    carrier = carry(document, adjustments)
    assert carrier.total == document.total + sum(one.total for one in adjustments)
    sums = carrier.sub_total - carrier.total_discount + carrier.total_tax - carrier.credits_amount
    assert carrier.total == sums
    assert carrier.sub_total == sum(product.total for product in carrier.products)
    assert {product.root for product in carrier.products} <= {
        None,
        *(part.root for part in carrier.adjustments),
    }
    assert carrier.accounting_event_type == ("CREDIT" if carrier.total < 0 else "INVOICE")
    assert carry(document, []) is document
