"""PACKAGE: units are sold by the package; of the whole period's total, never of a split of it.

A started package costs as much as a full one (`package_rounding` UP), or nothing yet (DOWN).
"""

from typing import Any

from schemas.money import ONE, PRICE_DIGITS, QUANTITY_DIGITS, Price, Quantity, scaled_to_text
from schemas.pricing.reading import Reader
from schemas.pricing.terms import LinePrice, PricingModel


def packages(price: LinePrice, quantity: int) -> int:
    """Return how many packages a billable quantity >= 0 comes to."""
    full, started = divmod(quantity, price.package_size)
    return full + 1 if started and price.package_rounding == "UP" else full


def amount(price: LinePrice, quantity: int) -> int:
    """Price each package alike."""
    return packages(price, quantity) * price.price * ONE


def _read(reader: Reader) -> dict[str, Any]:
    size = reader.quantity("package_size")
    if size == 0:
        reader.add("number_not_positive", "must be above 0", "package_size")
    return {
        "price": reader.price("price") or Price(0),
        "package_size": size or Quantity(ONE),
        "package_rounding": reader.choice("package_rounding", "UP", "DOWN"),
    }


def _write(price: LinePrice) -> dict[str, object]:
    fields: dict[str, object] = {
        "price": scaled_to_text(price.price, PRICE_DIGITS),
        "package_size": scaled_to_text(price.package_size, QUANTITY_DIGITS),
    }
    return fields if price.package_rounding == "UP" else {**fields, "package_rounding": "DOWN"}


MODEL = PricingModel(
    required=frozenset({"price", "package_size"}),
    optional=frozenset({"package_rounding"}),
    read=_read,
    write=_write,
    amount=amount,
)
