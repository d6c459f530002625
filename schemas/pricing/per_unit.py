"""PER_UNIT: every unit costs the same."""

from typing import Any

from schemas.money import PRICE_DIGITS, Price, scaled_to_text
from schemas.pricing.reading import Reader
from schemas.pricing.terms import LinePrice, PricingModel


def amount(price: LinePrice, quantity: int) -> int:
    """Price each unit alike."""
    return quantity * price.price


def _read(reader: Reader) -> dict[str, Any]:
    return {"price": reader.price("price") or Price(0)}


def _write(price: LinePrice) -> dict[str, object]:
    return {"price": scaled_to_text(price.price, PRICE_DIGITS)}


MODEL = PricingModel(
    required=frozenset({"price"}),
    optional=frozenset(),
    read=_read,
    write=_write,
    amount=amount,
    has_unit_price=True,
)
