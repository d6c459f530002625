"""What a document shows: enough to do the sum again by hand."""

from collections.abc import Mapping

import pytest

from invoicer.delivery.explanation import ViewLine
from invoicer.delivery.view import build_view
from schemas.periods import Part
from tests.issued_documents import AUGUST, FROM_THE_17TH, PARTIES, issued, line, product, text_of

TIERED = {
    "model": "GRADUATED",
    "tiers": [
        {"up_to": "1000", "unit_price": "0", "flat_fee": "10"},
        {"up_to": "50000", "unit_price": "0.0015"},
        {"unit_price": "0.0009"},
    ],
}


def only_line(price: Mapping[str, object], quantity: str, part: Part = AUGUST) -> ViewLine:
    bought = product(line("Calls", price, quantity), part=part)
    return build_view(issued(bought)).products[0].lines[0]


def test_a_simple_line_is_quantity_times_price() -> None:
    shown = only_line({"model": "PER_UNIT", "price": "0.5"}, "1234.5")
    assert (shown.quantity, shown.unit_price, shown.amount) == ("1,234.5", "$0.50", "$617.25")
    assert (shown.steps, shown.notes) == ((), ())


def test_each_tier_says_what_it_adds() -> None:
    shown = only_line(TIERED, "123456.5")
    assert [(s.label, s.quantity, s.unit_price, s.amount) for s in shown.steps] == [
        ("Up to 1,000, plus $10.00 flat", "1,000", "$0.00", "$10.00"),
        ("Above 1,000, up to 50,000", "49,000", "$0.0015", "$73.50"),
        ("Above 50,000", "73,456.5", "$0.0009", "$66.11085"),
    ]
    assert (shown.unit_price, shown.amount) == ("", "$149.61")
    assert shown.notes == ("Rounded from $149.61085",)


def test_a_tier_that_prices_all_units_says_where_it_lies() -> None:
    shown = only_line({**TIERED, "model": "VOLUME"}, "2000")
    assert [(s.label, s.quantity, s.unit_price, s.amount) for s in shown.steps] == [
        ("Above 1,000, up to 50,000", "2,000", "$0.0015", "$3.00")
    ]
    stairs = {"model": "STAIRSTEP", "tiers": [{"up_to": 5, "flat_fee": 1}, {"flat_fee": 7}]}
    (step,) = only_line(stairs, "5.5").steps
    assert (step.label, step.amount) == ("Above 5, plus $7.00 flat", "$7.00")


def test_packages_are_counted() -> None:
    price = {"model": "PACKAGE", "price": "2.5", "package_size": "100", "included_quantity": "10"}
    shown = only_line(price, "310.5")
    assert [(s.label, s.quantity, s.unit_price, s.amount) for s in shown.steps] == [
        ("Packages of 100", "4", "$2.50", "$10.00")
    ]
    assert (shown.quantity, shown.unit_price, shown.amount) == ("310.5", "", "$10.00")
    assert only_line(price, "-310.5").steps[0].amount == "-$10.00"


def test_a_share_is_shown_as_the_price_of_a_unit() -> None:
    shown = only_line({"model": "PERCENTAGE", "rate": "2.9"}, "1000")
    assert (shown.unit_price, shown.amount, shown.steps) == ("$0.029", "$29.00", ())


def test_a_formula_that_never_ends_shows_its_digits() -> None:
    price = {"model": "FORMULA", "expression": "q / 3"}
    shown = only_line(price, "10")
    assert (shown.unit_price, shown.amount, shown.steps) == ("", "$3.33", ())
    assert shown.notes == (f"Rounded from $3.{'3' * 36}",)


def test_every_step_between_usage_and_amount_is_told_in_order() -> None:
    price = {"model": "PER_UNIT", "price": "0.015", "included_quantity": "100"}
    shown = only_line({**price, "minimum_fee": "5", "discount": "12.5"}, "123")
    assert shown.notes == (
        "100 included free of charge, 23 charged",
        "Raised to the minimum of $5.00",
        "Less 12.5% discount",
        "Rounded from $4.375",
    )
    assert shown.amount == "$4.38"
    assert only_line({**price, "maximum_fee": "0.2"}, "123").notes[1:] == (
        "Held at the maximum of $0.20",
    )


def test_a_fee_for_part_of_a_period_shows_both_rounded_shares() -> None:
    shown = only_line({"model": "FLAT", "price": "99.99", "quantity": "3"}, "0", FROM_THE_17TH)
    assert shown.notes == (
        "Part of a period: $299.97 × 31/31 − $299.97 × 16/31 days, each rounded",
    )
    # 299.97 - round(299.97 x 16 / 31 = 154.8232...) = 299.97 - 154.82
    assert shown.amount == "$145.15"
    first = only_line({"model": "FLAT", "price": "31"}, "0", Part(before=0, through=16, whole=31))
    assert first.notes == ("Part of a period: $31.00 × 16/31 days, rounded",)
    assert first.amount == "$16.00"


def test_a_bound_for_part_of_a_period_says_its_share() -> None:
    price = {"model": "PER_UNIT", "price": "0.01", "minimum_fee": "40"}
    assert only_line(price, "1", FROM_THE_17TH).notes == (
        "Raised to the minimum of $19.35 ($40.00 × 31/31 − $40.00 × 16/31 days, each rounded)",
    )


def test_minimum_discount_and_taxes_lead_from_the_lines_to_the_total() -> None:
    seats = line("Seats", {"model": "FLAT", "price": "15", "quantity": "7"})
    calls = line("Calls", {"model": "PER_UNIT", "price": "1"}, "100")
    view = build_view(
        issued(
            product(calls, name="API", discount="5", tax="19"),
            product(seats, name="Team", minimum_fee="150", tax="7"),
        )
    )
    assert [p.total for p in view.products] == ["$100.00", "$150.00"]
    assert text_of(view.products[1].adjustments) == {
        "Added up to the minimum fee of $150.00 (lines: $105.00)": "$45.00"
    }
    assert text_of(view.totals) == {
        "Subtotal": "$250.00",
        "Discount 5% on API ($100.00)": "-$5.00",
        "Tax 7% on $150.00": "$10.50",
        "Tax 19% on $95.00": "$18.05",
    }
    assert (view.total.label, view.total.value) == ("Total due", "$273.55")


@pytest.mark.parametrize(
    ("currency", "amount"), [("JPY", "¥1,235"), ("USD", "$1,234.57"), ("KWD", "KWD\xa01,234.568")]
)
def test_money_has_the_digits_of_its_currency(currency: str, amount: str) -> None:
    bought = product(line("Calls", {"model": "PER_UNIT", "price": "1"}, "1234.5678"))
    assert build_view(issued(bought, currency=currency)).total.value == amount


def test_no_digit_is_lost_however_large_a_number_is() -> None:
    quantity, price = (
        "99999999999999999999.999999999999999999",
        "12345678901234567890.000000000000000001",
    )
    shown = only_line({"model": "PER_UNIT", "price": price}, quantity)
    assert shown.quantity == "99,999,999,999,999,999,999.999999999999999999"
    assert shown.unit_price == "$12,345,678,901,234,567,890.000000000000000001"
    assert shown.notes[0].removeprefix("Rounded from $").replace(",", "") == (
        "1234567890123456789000000000000000000087.654321098765432109999999999999999999"
    )


def test_a_credit_asks_for_no_payment() -> None:
    bought = product(line("Corrections", {"model": "PER_UNIT", "price": "0.5"}, "-10"))
    view = build_view(issued(bought))
    assert (view.title, view.total.label, view.total.value) == (
        "Credit note",
        "Total credited",
        "-$5.00",
    )
    assert view.payment == ()
    assert "Due date" not in text_of(view.facts)


def test_payment_goes_to_the_account_that_the_contract_names() -> None:
    bought = product(line("Calls", {"model": "PER_UNIT", "price": "1"}, "1"))
    assert text_of(build_view(issued(bought)).payment)["Bank"] == "First Bank"
    named = {**PARTIES, "billing_bank_transfer_details": {"billing_account_id": "b"}}
    assert text_of(build_view(issued(bought, parties=named)).payment) == {
        "Bank": "Second Bank",
        "IBAN": "IE64 IRCE 9205",
    }


def test_parties_are_shown_with_what_is_known_of_them() -> None:
    bought = product(line("Calls", {"model": "PER_UNIT", "price": "1"}, "1"))
    view = build_view(issued(bought))
    assert view.recipient.name == "Acme Analytics GmbH & Co. KG"
    assert view.recipient.lines == (
        "Lange Straße 12",
        "Hinterhaus",
        "10115 Berlin",
        "Germany",
        "billing@acme.example",
        "Tax no. DE123456789",
    )
    assert "+353 15551234" in view.issuer.lines
    bare = build_view(issued(bought, parties={"customer": {"name": "A"}, "entity": {"name": "B"}}))
    assert (bare.recipient.name, bare.recipient.lines, bare.payment) == ("A", (), ())
