"""FLAT: a price times a fixed quantity, such as seats, whatever the usage."""

from typing import Any

from schemas.money import ONE, PRICE_DIGITS, QUANTITY_DIGITS, Price, Quantity, scaled_to_text
from schemas.pricing.reading import Reader
from schemas.pricing.terms import LinePrice, PricingModel


def amount(price: LinePrice, quantity: int) -> int:
    """Price the line's own quantity for one whole period."""
    return quantity * price.price


def _read(reader: Reader) -> dict[str, Any]:
    seats = reader.quantity("quantity")
    return {
        "price": reader.price("price") or Price(0),
        "quantity": Quantity(ONE) if seats is None else seats,
        "recurring": reader.flag("recurring", default=True),
    }


def _write(price: LinePrice) -> dict[str, object]:
    fields: dict[str, object] = {
        "price": scaled_to_text(price.price, PRICE_DIGITS),
        "quantity": scaled_to_text(price.quantity, QUANTITY_DIGITS),
    }
    return fields if price.recurring else {**fields, "recurring": False}


MODEL = PricingModel(
    required=frozenset({"price"}),
    optional=frozenset({"quantity", "recurring"}),
    read=_read,
    write=_write,
    amount=amount,
    basis="OWN_QUANTITY",
    has_unit_price=True,
)
