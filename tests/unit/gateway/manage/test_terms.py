"""A contract's terms: defaults, what is settled from elsewhere, and who shares a document."""

import json
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from gateway.manage.body import Body, parse_object
from gateway.manage.parts import BankTransfer, PaymentDetails
from gateway.manage.terms import (
    BillingCycle,
    Dates,
    NewContract,
    Payable,
    document_groups,
    local_dates,
    read_contract,
    settled_net_terms,
)
from schemas.errors import InvalidInput

CUSTOMER = "00000000-0000-4000-8000-000000000001"
PRICING = "00000000-0000-4000-8000-000000000007"
LINE = "00000000-0000-4000-8000-000000000008"


def request_of(**product: object) -> dict[str, Any]:
    terms = {
        "product_pricing_ref": PRICING,
        "billing_start_date": "2023-01-01",
        "billing_end_date": "2023-12-31",
    }
    return {"customer_ref": CUSTOMER, "products": [terms | product]}


def read(request: dict[str, Any]) -> NewContract:
    body = Body(parse_object(json.dumps(request).encode()), unknown_code="unknown_field")
    contract = read_contract(body.fields)
    body.finish()
    return contract


def problems(request: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(InvalidInput) as caught:
        read(request)
    return {problem.pointer: problem.code for problem in caught.value.problems}


def test_the_smallest_contract_is_monthly_collective_and_closes_by_itself() -> None:
    contract = read(request_of())
    (product,) = contract.products
    assert contract.customer_ref == UUID(CUSTOMER)
    assert (contract.invoice_mode, contract.closing) == ("COLLECTIVE", "AUTOMATIC")
    assert product.pricing_ref == UUID(PRICING)
    assert product.cycle == BillingCycle("MONTHLY", 1)
    assert product.line_refs is None
    assert product.discount == Decimal(0)


@pytest.mark.parametrize("name", ["line_item_ref", "line_item_id"])
def test_line_items_are_named_under_either_name(name: str) -> None:
    (product,) = read(request_of(line_items=[{name: LINE}])).products
    assert product.line_refs == (UUID(LINE),)


def test_an_empty_list_of_line_items_means_none() -> None:
    (product,) = read(request_of(line_items=[])).products
    assert product.line_refs == ()


def test_what_answers_show_can_be_sent_under_its_first_name() -> None:
    request = request_of()
    terms = request["products"][0]
    terms["pricing_ref"] = terms.pop("product_pricing_ref")
    assert read(request).products[0].pricing_ref == UUID(PRICING)


@pytest.mark.parametrize("when", ["BEFORE", "DURING", "AFTER"])
def test_each_time_of_payment_has_two_names(when: str) -> None:
    for what in ("PERIOD", "USE"):
        [product] = read(request_of(payment_time=f"{when}_{what}")).products
        assert product.payment_time == f"{when}_USE"


@pytest.mark.parametrize(
    ("terms", "wrong"),
    [
        ({"payment_time": "BEFORE"}, {"/products/0/payment_time": "value_unknown"}),
        ({"payment_time": "NEVER"}, {"/products/0/payment_time": "value_unknown"}),
        ({"overrides": [{}]}, {"/products/0/overrides/0/line_item_ref": "required"}),
        (
            {"commitments": [{}]},
            {
                "/products/0/commitments/0/over": "required",
                "/products/0/commitments/0/amount": "required",
            },
        ),
        (
            {"commitments": [{"over": "PERIOD", "amount": 1}] * 2},
            {"/products/0/commitments": "commitment_repeated"},
        ),
        (
            {"credits": [{"amount": 0, "every": "DAY"}]},
            {
                "/products/0/credits/0/amount": "number_not_positive",
                "/products/0/credits/0/every": "value_unknown",
            },
        ),
        (
            {"credits": [{"amount": 1, "roll_over": 1, "priority": -1}]},
            {
                "/products/0/credits/0/roll_over": "field_not_applicable",
                "/products/0/credits/0/priority": "number_malformed",
            },
        ),
        (
            {"credits": [{"amount": 1, "starts": "2026-02-01", "expires": "2026-01-31"}]},
            {"/products/0/credits/0/expires": "dates_crossed"},
        ),
        ({"credits": [{"amount": 1}] * 21}, {"/products/0/credits": "list_too_long"}),
        ({"billing_cycle": {"unit": "DAILY"}}, {"/products/0/billing_cycle/unit": "value_unknown"}),
        (
            {"billing_cycle": {"cycle": 121}},
            {"/products/0/billing_cycle/cycle": "number_out_of_range"},
        ),
        (
            {"line_items": [{"line_item_id": "x"}, {}]},
            {
                "/products/0/line_items/0/line_item_id": "ref_malformed",
                "/products/0/line_items/1/line_item_ref": "required",
            },
        ),
        ({"discount": 101}, {"/products/0/discount": "percent_out_of_range"}),
        ({"billing_end_date": None}, {"/products/0/billing_end_date": "required"}),
        ({"isue_day": "2023-01-01"}, {"/products/0/isue_day": "unknown_field"}),
    ],
)
def test_wrong_terms_are_refused(terms: dict[str, Any], wrong: dict[str, str]) -> None:
    assert problems(request_of(**terms)) == wrong


@pytest.mark.parametrize(
    ("extra", "wrong"),
    [
        ({"products": []}, {"/products": "required"}),
        ({"draft": "perhaps"}, {"/draft": "flag_malformed"}),
        ({"auto_renew": "perhaps"}, {"/auto_renew": "flag_malformed"}),
        ({"closing": "SOON"}, {"/closing": "value_unknown"}),
    ],
)
def test_wrong_contracts_are_refused(extra: dict[str, Any], wrong: dict[str, str]) -> None:
    assert problems(request_of() | extra) == wrong


def test_a_full_time_stands_for_the_day_of_the_entitys_zone() -> None:
    (product,) = read(
        request_of(
            billing_start_date="2024-02-01T12:05:23.613Z",
            billing_end_date="2025-01-31",
            issue_day="2024-03-13",
        )
    ).products
    dates = local_dates(product, "Pacific/Auckland")
    assert dates == Dates(date(2024, 2, 2), date(2025, 1, 31), date(2024, 3, 13))


def test_a_contract_may_last_one_day_but_not_less() -> None:
    (product,) = read(request_of(billing_end_date="2023-01-01")).products
    assert local_dates(product, "UTC") == Dates(date(2023, 1, 1), date(2023, 1, 1), None)
    (product,) = read(request_of(billing_end_date="2022-12-31")).products
    assert local_dates(product, "UTC") is None
    (problem,) = product.fields.body.problems
    assert (problem.code, problem.pointer) == ("dates_crossed", "/products/0/billing_end_date")


@pytest.mark.parametrize(
    ("own", "customer", "entity", "settled"),
    [
        ("10", "20", "30", "10"),
        (None, "DUE_UPON_RECEIPT", "30", "DUE_UPON_RECEIPT"),
        (None, "DUE_UPON_USAGE", "30", "DUE_UPON_USAGE"),
        (None, None, "45", "45"),
        (None, None, None, "30"),
    ],
)
def test_payment_terms_come_from_the_nearest_that_has_any(
    own: str | None, customer: str | None, entity: str | None, settled: str
) -> None:
    (product,) = read(request_of(net_terms=own)).products
    assert settled_net_terms(product, customer, entity) == settled
    assert product.fields.body.problems == []


WIRE = PaymentDetails(billing_bank_transfer_details=BankTransfer("account-1"))


def test_products_alike_in_all_that_a_document_has_once_share_one() -> None:
    payables = [
        Payable(1, "USD", "30", WIRE),
        Payable(1, "USD", "30", PaymentDetails()),
        Payable(1, "USD", "30", WIRE),
        Payable(2, "USD", "30", WIRE),
        Payable(1, "USD", "45", WIRE),
    ]
    assert list(document_groups("COLLECTIVE", payables)) == [0, 1, 0, 3, 4]
    assert list(document_groups("PER_PRODUCT", payables)) == [0, 1, 2, 3, 4]


def test_payment_details_left_out_are_the_customers() -> None:
    other = PaymentDetails(billing_bank_transfer_details=BankTransfer("account-2"))
    assert WIRE.over(other) == WIRE
    assert PaymentDetails().over(other) == other
