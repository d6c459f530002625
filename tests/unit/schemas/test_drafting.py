"""A document's arithmetic: worked examples, and sums that close to the minor unit."""

from collections.abc import Sequence
from fractions import Fraction
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.document import AccountingEventType, DraftedDocument
from schemas.drafting import CutLine, ProductInput, draft_document, line_minor
from schemas.errors import InvalidInput
from schemas.money import ONE, Price, Quantity, currency_digits, parse_quantity
from schemas.periods import Part
from schemas.price import LinePrice, is_usage, parse_line_price
from tests.pricing import total_prices

REF = UUID("00000000-0000-4000-8000-000000000001")
WHOLE = Part(0, 30, 30)
HALF = Part(0, 15, 30)

CALLS = parse_line_price(
    {
        "model": "GRADUATED",
        "tiers": [
            {"up_to": 1000, "unit_price": "0.01"},
            {"up_to": 10000, "unit_price": "0.008", "flat_fee": "5"},
            {"unit_price": "0.005"},
        ],
    }
)
SEATS = parse_line_price({"model": "FLAT", "price": "19.99", "quantity": 3})


def cut_line(price: LinePrice, quantity: str = "0") -> CutLine:
    return CutLine(
        line_item_ref=REF,
        contract_line_ref=REF,
        pricing_line_id=1,
        item="Calls",
        price=price,
        quantity=parse_quantity(quantity),
    )


def product(*lines: CutLine, **terms: object) -> ProductInput:
    plain = ProductInput(
        contract_product_ref=REF, period_ref=REF, cut_number=1, product_name="Basic", lines=lines
    )
    return msgspec.structs.replace(plain, **terms)


def percent(text: str) -> Price:
    return Price(parse_quantity(text))


def per_unit(price: str, **fields: str) -> LinePrice:
    return parse_line_price({"model": "PER_UNIT", "price": price, **fields})


def minor(price: LinePrice, quantity: str, part: Part = WHOLE, digits: int = 2) -> int:
    return line_minor(price, parse_quantity(quantity), part, digits)


def test_a_document_is_what_one_adds_up_by_hand() -> None:
    document = draft_document(
        [
            product(
                cut_line(CALLS, "12345"),  # 10 + 72 + 5 + 11.725 = 98.725 -> 98.73
                cut_line(SEATS),  # 59.97
                discount_percent=percent("10"),  # 15.87 of 158.70
                tax_percent=percent("17"),
            ),
            product(
                cut_line(per_unit("0.333"), "100"),  # 33.30
                minimum_fee=Price(50 * ONE),  # tops it up to 50.00
                tax_percent=percent("17"),
            ),
        ],
        "USD",
    )
    first, second = document.products
    assert [line.amount for line in first.lines] == [9_873, 5_997]
    assert (first.sub_total, first.total, first.discount, first.discounted) == (
        15_870, 15_870, 1_587, 14_283,
    )  # fmt: skip
    assert (second.sub_total, second.minimum_fee, second.total) == (3_330, 5_000, 5_000)
    assert (document.sub_total, document.total_discount) == (20_870, 1_587)
    assert document.total_tax == 3_278  # 17 % of 192.83 = 32.7811, rounded once
    assert document.total == 20_870 - 1_587 + 3_278
    assert document.accounting_event_type is AccountingEventType.INVOICE
    assert not document.is_partial_period


def test_a_line_shows_where_its_amount_comes_from() -> None:
    usage = msgspec.structs.replace(
        cut_line(CALLS, "1500.5"), charge_ref=REF, event_count=7, events_digest=b"\x01" * 32
    )
    (drafted,) = draft_document([product(usage, cut_line(SEATS))], "USD").products
    line, seats = drafted.lines
    assert [(tier.quantity, tier.flat_fee) for tier in line.tiers] == [
        (1_000 * ONE, 0),
        (parse_quantity("500.5"), 5 * ONE),
    ]
    assert sum(tier.amount for tier in line.tiers) == line.usage_amount
    assert (line.quantity, line.unit_price) == (parse_quantity("1500.5"), None)
    assert (line.charge_ref, line.event_count, line.events_digest) == (REF, 7, b"\x01" * 32)
    assert (seats.quantity, seats.unit_price, seats.tiers) == (3 * ONE, SEATS.price, ())


def test_zero_usage_still_pays_the_first_tiers_flat_fee() -> None:
    price = parse_line_price({"model": "GRADUATED", "tiers": [{"unit_price": 1, "flat_fee": "2"}]})
    assert draft_document([product(cut_line(price))], "USD").total == 200


def test_each_rate_is_taxed_once_over_all_its_products() -> None:
    cent = per_unit("0.03")
    document = draft_document(
        [
            product(cut_line(cent, "1"), tax_percent=percent("20")),
            product(cut_line(cent, "1"), tax_percent=percent("20")),
            product(cut_line(cent, "1"), tax_percent=percent("7.5")),
            product(cut_line(cent, "1")),
        ],
        "USD",
    )
    taxes = [(tax.percent, tax.base, tax.tax) for tax in document.taxes]
    assert taxes == [(percent("7.5"), 3, 0), (percent("20"), 6, 1)]  # 0.6 + 0.6 is 1, not 2
    assert document.total == 12 + 1


def test_credits_are_taken_off_last() -> None:
    line = cut_line(per_unit("1"), "100")
    document = draft_document([product(line, tax_percent=percent("10"))], "EUR", 2_500)
    assert (document.total_tax, document.credits_amount, document.total) == (1_000, 2_500, 8_500)


def test_a_document_below_zero_is_a_credit() -> None:
    line = cut_line(per_unit("1"), "-3.005")
    document = draft_document([product(line, tax_percent=percent("10"))], "USD")
    assert document.accounting_event_type is AccountingEventType.CREDIT
    assert (document.sub_total, document.total_tax, document.total) == (-301, -30, -331)


def test_a_minimum_fee_holds_for_a_product_that_credits_exceed() -> None:
    line = cut_line(per_unit("1"), "-3")
    assert draft_document([product(line, minimum_fee=Price(0))], "USD").total == 0


@pytest.mark.parametrize(
    ("fields", "quantity", "part", "amount"),
    [
        ({"minimum_fee": "10"}, "3", WHOLE, 1_000),
        ({"minimum_fee": "10"}, "3", HALF, 500),
        ({"minimum_fee": "10"}, "7", HALF, 700),  # usage is never prorated
        ({"maximum_fee": "10"}, "30", WHOLE, 1_000),
        ({"maximum_fee": "10"}, "30", HALF, 500),
        ({"minimum_fee": "10", "discount": "50"}, "3", WHOLE, 500),
        ({"minimum_fee": "10.005", "discount": "50"}, "3", WHOLE, 500),  # 5.0025, rounded once
        ({"included_quantity": "5"}, "7", WHOLE, 200),
    ],
)
def test_fees_bound_a_usage_line_by_the_days_of_its_period(
    fields: dict[str, str], quantity: str, part: Part, amount: int
) -> None:
    assert minor(per_unit("1", **fields), quantity, part) == amount


def test_a_flat_line_is_prorated_so_that_its_parts_add_up() -> None:
    price = parse_line_price({"model": "FLAT", "price": "99.99", "discount": "10"})
    parts = [Part(0, 10, 31), Part(10, 11, 31), Part(11, 31, 31)]
    assert sum(minor(price, "0", part) for part in parts) == minor(price, "0", Part(0, 31, 31))


def test_a_fee_that_is_not_recurring_is_due_once_and_in_full() -> None:
    setup = parse_line_price({"model": "FLAT", "price": "500", "recurring": False})
    first = product(cut_line(setup), part=HALF)
    later = product(cut_line(setup), part=HALF, is_first_period=False)
    assert draft_document([first], "USD").total == 50_000
    assert draft_document([later], "USD").products[0].lines == ()


def test_a_partial_period_prorates_the_products_minimum_fee_and_is_said_to_be_partial() -> None:
    document = draft_document([product(part=HALF, minimum_fee=Price(25 * ONE))], "USD")
    assert document.is_partial_period
    assert (document.products[0].minimum_fee, document.total) == (1_250, 1_250)


@pytest.mark.parametrize(
    ("currency", "total"), [("JPY", 1_235), ("USD", 123_457), ("KWD", 1_234_568)]
)
def test_a_line_is_rounded_to_its_currencys_digits(currency: str, total: int) -> None:
    line = cut_line(per_unit("1234.5675"), "1")
    assert draft_document([product(line)], currency).total == total


def test_a_line_priced_in_another_currency_is_refused() -> None:
    line = cut_line(per_unit("1", currency="EUR"), "1")
    assert draft_document([product(line)], "EUR").total == 100
    with pytest.raises(InvalidInput, match="EUR"):
        draft_document([product(line)], "USD")


def test_a_document_without_products_is_empty_and_not_an_error() -> None:
    document = draft_document([], "USD")
    assert (document.total, document.products, document.taxes) == (0, (), ())


line_prices = st.builds(
    lambda price, discount, fee: LinePrice(
        "PER_UNIT", price=Price(price), discount_percent=Price(discount), minimum_fee=fee
    ),
    st.integers(0, 10**21),
    st.integers(0, 100 * ONE),
    st.none() | st.integers(0, 10**21).map(Price),
)
parts = st.integers(1, 31).flatmap(
    lambda through: st.integers(0, through - 1).map(lambda before: Part(before, through, 31))
)
totals = st.integers(-(10**24), 10**24).map(Quantity)
percents = st.integers(0, 100 * ONE).map(Price)
product_inputs = st.builds(
    lambda pairs, part, discount, tax, fee: product(
        *(msgspec.structs.replace(cut_line(price), quantity=total) for price, total in pairs),
        part=part,
        discount_percent=discount,
        tax_percent=tax,
        minimum_fee=fee,
    ),
    st.lists(st.tuples(line_prices, totals), max_size=4),
    parts,
    percents,
    st.sampled_from([Price(0), percent("7.5"), percent("17"), percent("25")]),
    st.none() | st.integers(0, 10**21).map(Price),
)


def half_away(value: Fraction) -> int:
    magnitude = int(abs(value) + Fraction(1, 2))
    return -magnitude if value < 0 else magnitude


def tax_by_hand(products: Sequence[ProductInput], document: DraftedDocument) -> int:
    rates = {given.tax_percent for given in products}
    return sum(
        half_away(
            Fraction(rate, 100 * ONE)
            * sum(
                drafted.discounted for drafted in document.products if drafted.tax_percent == rate
            )
        )
        for rate in rates
    )


@given(st.lists(product_inputs, max_size=4), st.sampled_from(["JPY", "USD", "KWD"]))
def test_every_figure_follows_from_those_above_it_to_the_minor_unit(
    products: list[ProductInput], currency: str
) -> None:
    document = draft_document(products, currency)
    assert document.currency_digits == currency_digits(currency)
    for given_product, drafted in zip(products, document.products, strict=True):
        assert drafted.sub_total == sum(line.amount for line in drafted.lines)
        assert drafted.total == max(
            drafted.sub_total,
            drafted.sub_total if drafted.minimum_fee is None else drafted.minimum_fee,
        )
        share = Fraction(given_product.discount_percent, 100 * ONE)
        assert drafted.discount == half_away(drafted.total * share)
        assert drafted.discounted == drafted.total - drafted.discount
    assert document.sub_total == sum(drafted.total for drafted in document.products)
    assert document.total_discount == sum(drafted.discount for drafted in document.products)
    assert document.total_tax == tax_by_hand(products, document)
    assert document.total == document.sub_total - document.total_discount + document.total_tax


@given(line_prices, totals, totals, parts, st.sampled_from([0, 2, 3]))
def test_more_usage_never_makes_a_line_cheaper(
    price: LinePrice, one: Quantity, other: Quantity, part: Part, digits: int
) -> None:
    less, more = sorted((one, other))
    assert line_minor(price, less, part, digits) <= line_minor(price, more, part, digits)


@given(st.lists(product_inputs, max_size=3))
def test_the_same_inputs_give_the_same_document(products: list[ProductInput]) -> None:
    encoded = [msgspec.json.encode(draft_document(products, "USD")) for _ in range(2)]
    assert encoded[0] == encoded[1]


@given(
    total_prices(
        st.integers(0, 10**20).map(Price), st.integers(0, 10**20).map(Quantity), st.just(Price(0))
    ),
    st.integers(1, 10**22),  # nothing used is not below zero
    st.integers(0, 5),
)
def test_what_is_below_zero_is_priced_by_its_magnitude_and_comes_to_a_credit(
    price: LinePrice, quantity: int, event_count: int
) -> None:
    price = msgspec.structs.replace(price, minimum_fee=None, maximum_fee=None)
    line = msgspec.structs.replace(cut_line(price), event_count=event_count)
    more, less = (
        draft_document([product(msgspec.structs.replace(line, quantity=Quantity(one)))], "USD")
        for one in (quantity, -quantity)
    )
    if is_usage(price):
        assert (less.total, less.sub_total) == (-more.total, -more.sub_total)
        (plus,), (minus,) = more.products[0].lines, less.products[0].lines
        assert (minus.quantity, minus.amount) == (-plus.quantity, -plus.amount)
        assert [tier.amount for tier in minus.tiers] == [-tier.amount for tier in plus.tiers]
    is_credit = less.accounting_event_type is AccountingEventType.CREDIT
    assert is_credit == (less.total < 0)
