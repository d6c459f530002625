"""Issued documents as the database would give them, made without one: drafted, then dressed."""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from invoicer.delivery.issued import IssuedDocument, IssuedLine, IssuedProduct, IssuedTrueUp
from schemas.document import DocumentProduct
from schemas.drafting import CutLine, ProductInput, draft_document
from schemas.money import AMOUNT_DIGITS, parse_price, parse_quantity, scaled_to_decimal
from schemas.periods import Part
from schemas.price import parse_line_price

NOBODY: Final = UUID(int=0)
AUGUST: Final = Part(before=0, through=31, whole=31)
FROM_THE_17TH: Final = Part(before=16, through=31, whole=31)

PARTIES: Final[Mapping[str, Any]] = {
    "customer": {
        "name": "Acme",
        "legal_name": "Acme Analytics GmbH & Co. KG",
        "email": "billing@acme.example",
        "billing_address": "Lange Straße 12\nHinterhaus",
        "zip_code": "10115",
        "city": "Berlin",
        "country": "Germany",
        "ein": "DE123456789",
    },
    "entity": {
        "name": "Northwind",
        "legal_name": "Northwind Metering Ltd",
        "email": "accounts@northwind.example",
        "registration_number": "4711",
        "address": "1 Harbour Way",
        "city": "Dublin",
        "phone": {"countryCode": "353", "phone": "15551234"},
        "billing_details": {
            "billing_accounts": [
                {"billing_account_id": "a", "bank_name": "First Bank", "iban": "IE29 AIBK 9311"},
                {"billing_account_id": "b", "bank_name": "Second Bank", "iban": "IE64 IRCE 9205"},
            ]
        },
    },
    "contract": {"contract_number": 17, "po_number": "PO-4711"},
}


def line(
    item: str, price: Mapping[str, object], quantity: str = "0", event_count: int = 0
) -> CutLine:
    return CutLine(
        line_item_ref=NOBODY,
        contract_line_ref=NOBODY,
        pricing_line_id=1,
        item=item,
        price=parse_line_price(price),
        quantity=parse_quantity(quantity),
        event_count=event_count,
    )


def product(
    *lines: CutLine,
    name: str = "API platform",
    part: Part = AUGUST,
    minimum_fee: str | None = None,
    discount: str = "0",
    tax: str = "0",
) -> ProductInput:
    return ProductInput(
        contract_product_ref=NOBODY,
        period_ref=NOBODY,
        cut_number=1,
        product_name=name,
        lines=lines,
        part=part,
        minimum_fee=None if minimum_fee is None else parse_price(minimum_fee),
        discount_percent=parse_price(discount),
        tax_percent=parse_price(tax),
    )


def issued(
    *products: ProductInput, currency: str = "USD", parties: Mapping[str, Any] = PARTIES
) -> IssuedDocument:
    draft = draft_document(products, currency)
    digits = draft.currency_digits
    shown = tuple(_product(product, digits) for product in draft.products)
    return IssuedDocument(
        document_ref=NOBODY,
        accounting_event_type=draft.accounting_event_type,
        document_number="INV-2026-001",
        number_in_contract=1,
        currency=currency,
        net_terms="30",
        issue_date=date(2026, 9, 1),
        due_date=date(2026, 10, 1),
        period_start=min(product.start_date for product in shown),
        period_end=max(product.end_date for product in shown),
        products=shown,
        sub_total=scaled_to_decimal(draft.sub_total, digits),
        total_discount=scaled_to_decimal(draft.total_discount, digits),
        total_tax=scaled_to_decimal(draft.total_tax, digits),
        credits_amount=Decimal(0),
        total=scaled_to_decimal(draft.total, digits),
        parties=dict(parties),
    )


def _product(product: DocumentProduct, digits: int) -> IssuedProduct:
    first = date(2026, 8, 1)
    return IssuedProduct(
        product_name=product.product_name,
        start_date=first + timedelta(days=product.part.before),
        end_date=first + timedelta(days=product.part.through),
        part=product.part,
        lines=_lines(product, digits),
        minimum_fee=scaled_to_decimal(product.minimum_fee or 0, digits),
        sub_total=scaled_to_decimal(product.sub_total, digits),
        total=scaled_to_decimal(product.total, digits),
        discount=scaled_to_decimal(product.discount, digits),
        discount_rate=product.discount_percent,
        tax_rate=product.tax_percent,
        true_ups=tuple(
            IssuedTrueUp(
                one.over,
                *(
                    scaled_to_decimal(money, digits)
                    for money in (one.committed, one.spent, one.added)
                ),
            )
            for one in product.true_ups
        ),
    )


def _lines(product: DocumentProduct, digits: int) -> tuple[IssuedLine, ...]:
    return tuple(
        IssuedLine(
            line.item,
            line.price,
            line.quantity,
            line.event_count,
            scaled_to_decimal(line.amount, digits),
            exact_quantity=line.exact_quantity,
            cell=line.cell,
            fees=scaled_to_decimal(line.usage_amount, AMOUNT_DIGITS)
            if line.price.event_fees
            else None,
        )
        for line in product.lines
    )


def text_of(facts: Sequence[Any]) -> dict[str, str]:
    """Return labels and values of facts."""
    return {fact.label: fact.value for fact in facts}
