"""What is billed ahead of a period, and what settles it, are together the period as a whole."""

from fractions import Fraction
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from schemas.adjustments import LineKey
from schemas.ahead_drafting import joined, settled
from schemas.commitments import Commitment
from schemas.document import DraftedDocument
from schemas.drafting import CutLine, ProductInput, draft_document
from schemas.money import PRICE_DIGITS, Price, Quantity, parse_quantity
from schemas.periods import Part
from schemas.price import is_usage, parse_line_price

ONCE = {"model": "FLAT", "price": "99.99", "recurring": False}
FLAT = {"model": "FLAT", "price": "100", "quantity": "3", "discount": "3.3", "minimum_fee": "7"}
UNITS = {"model": "PER_UNIT", "price": "0.0333", "minimum_fee": "12", "maximum_fee": "70"}
VOLUME = {"model": "VOLUME", "tiers": [{"up_to": "50", "unit_price": "1"}, {"unit_price": "0.4"}]}
TIERS = {
    "model": "GRADUATED",
    "tiers": [{"up_to": "10", "unit_price": "2.5", "flat_fee": "4"}, {"unit_price": "0.333"}],
    "included_quantity": "2",
}
PACKAGES = {"model": "PACKAGE", "price": "5", "package_size": "7"}
PRICES = [parse_line_price(price) for price in (ONCE, FLAT, UNITS, VOLUME, TIERS, PACKAGES)]

amounts = st.integers(-20_000, 200_000).map(lambda n: parse_quantity(f"{n / 1000:.3f}"))
percents = st.integers(0, 10_000).map(lambda n: Price(n * 10 ** (PRICE_DIGITS - 2)))
parts = st.tuples(st.integers(0, 27), st.integers(1, 28)).map(
    lambda t: Part(before=min(t[0], t[1] - 1), through=max(t), whole=28)
)


@st.composite
def products(draw: st.DrawFn, number: int) -> tuple[ProductInput, ProductInput]:
    """Return a product in a period, and what of it is billed ahead."""
    lines, ahead = [], []
    during = draw(st.booleans())
    for place, price in enumerate(PRICES):
        ref = UUID(int=number * 100 + place)
        line = CutLine(ref, ref, place, f"Line {place}", price)
        if not is_usage(price):
            lines.append(line)
            ahead.append(line)
            continue
        total, count = draw(amounts), draw(st.integers(0, 9))
        lines.append(replace(line, quantity=total, event_count=count))
        if during:
            so_far = draw(amounts)
            ahead.append(replace(line, quantity=so_far, event_count=min(count, 3)))
    product = ProductInput(
        contract_product_ref=UUID(int=number),
        period_ref=UUID(int=number),
        cut_number=1,
        product_name="Product",
        lines=lines,
        part=draw(parts),
        is_first_period=draw(st.booleans()),
        minimum_fee=draw(st.none() | percents),
        discount_percent=draw(percents),
        tax_percent=draw(st.sampled_from([Price(0), Price(19 * 10**PRICE_DIGITS)])),
        commitments=draw(st.sampled_from([(), (Commitment("PERIOD", Price(10**9)),)])),
    )
    return product, replace(product, lines=ahead, cut_number=0, is_ahead=True)


def billed(document: DraftedDocument) -> dict[LineKey, list[Fraction]]:
    return {
        (line.contract_line_ref, line.cell): [
            Fraction(line.quantity), Fraction(line.amount), Fraction(line.event_count)
        ]
        for product in document.products
        for line in product.lines
    }  # fmt: skip


def sums(document: DraftedDocument) -> list[int]:
    return [document.sub_total, document.total_discount, document.total_tax, document.total]


@given(st.tuples(products(1), products(2)))
def test_both_add_up_to_the_whole_line_by_line_and_to_the_cent(
    given_products: tuple[tuple[ProductInput, ProductInput], ...],
) -> None:
    whole = draft_document([product for product, _ in given_products], "USD")
    ahead = draft_document([part for _, part in given_products], "USD")
    rest = settled(whole, ahead)
    assert [a + b for a, b in zip(sums(ahead), sums(rest), strict=True)] == sums(whole)
    early, late = billed(ahead), billed(rest)
    for key, line in billed(whole).items():
        none = [Fraction(0)] * 3
        both = zip(early.get(key, none), late.get(key, none), strict=True)
        assert [a + b for a, b in both] == line
    for one in ahead.products:
        assert one.total == sum(line.amount for line in one.lines)
        assert (one.minimum_fee, one.true_ups) == (None, ())
    for place, name in enumerate(("total", "discount")):
        parts_of = [[getattr(p, name) for p in d.products] for d in (ahead, rest, whole)]
        assert [a + b for a, b in zip(*parts_of[:2], strict=True)] == parts_of[2], place
    assert sums(joined(rest, ahead)) == sums(whole)


def test_without_anything_ahead_the_rest_is_the_whole() -> None:
    line = CutLine(UUID(int=1), UUID(int=1), 1, "Calls", PRICES[2], Quantity(10**18))
    product = ProductInput(UUID(int=1), UUID(int=1), 1, "Product", [line])
    whole = draft_document([product], "USD")
    assert settled(whole, draft_document([], "USD")) == whole
