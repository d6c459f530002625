"""A billing document as it is drafted: products, lines and totals that close to the minor unit.

Money that is rounded is an `int` in the currency's minor unit; `Amount`, `Quantity` and `Price` are
the exact scaled integers of `schemas.money`. A draft has no number and no dates: those come when it
is issued.
"""

from collections.abc import Sequence
from enum import StrEnum
from fractions import Fraction
from functools import lru_cache
from typing import Final
from uuid import UUID

import msgspec

from schemas.commitments import TrueUp
from schemas.money import (
    AMOUNT_DIGITS,
    PRICE_DIGITS,
    QUANTITY_DIGITS,
    Amount,
    Price,
    Quantity,
    scaled_to_text,
)
from schemas.periods import Part
from schemas.price import LinePrice, TierCharge


class DocumentKind(StrEnum):
    """Why a document exists; part of its identity, so the sign of its total is not."""

    PERIOD = "PERIOD"  # a contract's periods that fall due at one issue instant
    EVENT = "EVENT"  # one event, billed upon usage, under its period's document
    ADJUSTMENT = "ADJUSTMENT"  # the difference to what was issued before
    CREDIT = "CREDIT"  # what a person takes off an issued document


class AccountingEventType(StrEnum):
    """What a document does to the customer's account."""

    INVOICE = "INVOICE"  # the customer owes its total
    CREDIT = "CREDIT"  # the customer is owed: the total is below zero
    DEBIT = "DEBIT"  # an adjustment after which the customer owes more


class DocumentState(StrEnum):
    """Where a document stands between the first event and the money."""

    DRAFT = "DRAFT"
    UNDER_REVIEW = "UNDER_REVIEW"
    ISSUED = "ISSUED"
    SENT = "SENT"
    PARTIALLY_PAID = "PARTIALLY_PAID"
    PAID = "PAID"
    LATE = "LATE"
    PAYMENT_FAILED = "PAYMENT_FAILED"
    VOID = "VOID"
    UNCOLLECTIBLE = "UNCOLLECTIBLE"


FEE_CELL: Final = "fee"
"""Stands where a cell does, and is no JSON as those are."""


class DocumentLine(msgspec.Struct, frozen=True):
    """One priced line of a product.

    pricing_line_id: names the price version.
    quantity: the meter's total, or the line's own quantity where the price fixes it.
    unit_price: None for a model without one price; then `tiers` say how the amount came about.
    usage_amount: exact, before proration, fees, discount and rounding.
    amount: minor, the only rounded figure of the line.
    charge_ref, event_count, events_digest: the usage behind it; without any, None, 0, None.
    exact_quantity: in units, where the quantity is only the nearest number with 18 digits.
    cell: of a price of cells, which one it is, as it is stored; FEE_CELL for what a fee of all of
    them together adds or takes off. Else empty.
    """

    line_item_ref: UUID
    contract_line_ref: UUID
    pricing_line_id: int
    item: str
    price: LinePrice
    quantity: Quantity
    unit_price: Price | None
    tiers: tuple[TierCharge, ...]
    usage_amount: Amount
    amount: int
    charge_ref: UUID | None
    event_count: int
    events_digest: bytes | None
    exact_quantity: Fraction | None = None
    cell: str = ""


class DocumentProduct(msgspec.Struct, frozen=True):
    """One contract product in one period, as of one cut of its usage; money in minor.

    minimum_fee: prorated; None when the product has none.
    sub_total: the sum of the lines. total: that, or the minimum fee where it is greater, and what
    was missing to commitments.
    discount: the discount's percentage of the total, rounded, >= 0 for a total >= 0.
    discounted: total - discount, what tax is taken of.
    root: of a difference, the document that it is the difference to.
    """

    contract_product_ref: UUID
    period_ref: UUID
    cut_number: int
    product_name: str
    part: Part
    lines: tuple[DocumentLine, ...]
    minimum_fee: int | None
    sub_total: int
    total: int
    discount_percent: Price
    discount: int
    discounted: int
    tax_percent: Price
    true_ups: tuple[TrueUp, ...] = ()
    root: UUID | None = None


class DocumentTax(msgspec.Struct, frozen=True):
    """One tax rate over all products that bear it; base and tax in minor, rounded once a rate."""

    percent: Price
    base: int
    tax: int


class Adjustment(msgspec.Struct, frozen=True):
    """What a document says for another one, its root: that part of its sums; money in minor.

    is_ahead: the root is a later document, which settles what this one bills ahead.
    """

    root: UUID
    sub_total: int
    total_discount: int
    total_tax: int
    credits_amount: int = 0
    is_ahead: bool = False


class DraftedDocument(msgspec.Struct, frozen=True):
    """All that pricing says about a document; money in minor.

    total = sub_total - total_discount + total_tax - credits_amount, to the minor unit.
    adjustments: the parts of these that are for other documents, whose products name them.
    """

    accounting_event_type: AccountingEventType
    currency: str
    currency_digits: int
    is_partial_period: bool
    products: tuple[DocumentProduct, ...]
    taxes: tuple[DocumentTax, ...]
    sub_total: int
    total_discount: int
    total_tax: int
    credits_amount: int
    total: int
    adjustments: tuple[Adjustment, ...] = ()


# What price lists say comes again with every document; what was used does not.
_known_text: Final = lru_cache(maxsize=16_384)(scaled_to_text)


def tiers_json(tiers: Sequence[TierCharge]) -> str:
    """Write the tiers that a line entered, as the API answers them: numbers, every digit kept."""
    return f"[{','.join(map(_tier_json, tiers))}]"


def _tier_json(tier: TierCharge) -> str:
    up_to = "null" if tier.up_to is None else _known_text(tier.up_to, QUANTITY_DIGITS)
    return (
        f'{{"up_to":{up_to}'
        f',"quantity":{scaled_to_text(tier.quantity, QUANTITY_DIGITS)}'
        f',"unit_price":{_known_text(tier.unit_price, PRICE_DIGITS)}'
        f',"flat_fee":{_known_text(tier.flat_fee, PRICE_DIGITS)}'
        f',"amount":{scaled_to_text(tier.amount, AMOUNT_DIGITS)}}}'
    )
