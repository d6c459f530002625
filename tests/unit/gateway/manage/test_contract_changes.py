"""What differs between two shown contracts."""

from decimal import Decimal
from typing import Any

from gateway.manage.contract_changes import Change, changes_between, read_shown

ONE = {"pricing_ref": "p1", "billing_start_date": "2026-01-01", "discount": Decimal("10.0")}
TWO = {"pricing_ref": "p2", "billing_start_date": "2026-01-01", "discount": 0}


def shown(*products: dict[str, Any], **fields: object) -> dict[str, Any]:
    return {"customer_name": "A", "version": 1, "po_number": None, "products": [*products]} | fields


def test_what_is_the_same_to_a_reader_is_no_change() -> None:
    after = shown(ONE | {"discount": 10}, customer_name="B", version=2)
    assert changes_between(shown(ONE), after) == []


def test_fields_of_the_contract_and_of_its_products_are_named_by_their_place() -> None:
    after = shown(TWO, ONE | {"discount": 5}, po_number="PO-2")
    assert changes_between(shown(ONE, TWO), after) == [
        Change("/po_number", None, None, "PO-2"),
        Change("/products/1/discount", "p1", Decimal("10.0"), 5),
    ]


def test_a_product_that_came_or_went_is_one_change() -> None:
    assert changes_between(shown(ONE), shown(TWO)) == [
        Change("/products/0", "p2", None, TWO),
        Change("/products/0", "p1", ONE, None),
    ]


def test_twins_of_one_pricing_and_day_are_paired_in_their_order() -> None:
    twin = ONE | {"discount": 7}
    assert changes_between(shown(ONE, twin), shown(ONE, twin | {"note": "x"})) == [
        Change("/products/1/note", "p1", None, "x")
    ]


def test_numbers_keep_their_digits_and_a_digest_is_not_taken_for_a_contract() -> None:
    digits = "12345678901234567890.123456789"
    assert read_shown(f'{{"tax": {digits}}}') == {"tax": Decimal(digits)}
    assert read_shown('{"sha256": "00", "bytes": 70000}') is None
