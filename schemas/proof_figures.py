"""How a proof shows what it is made of: exact numbers, steps, tiers, meters. Pure."""

from fractions import Fraction
from typing import Any

import msgspec

from schemas.document import FEE_CELL
from schemas.explaining import Measured, decimal_text
from schemas.money import AMOUNT_DIGITS, ONE, Price, Quantity, round_fraction
from schemas.periods import Row
from schemas.price import basis_of, cell_values
from schemas.pricing.terms import LinePrice, TierCharge

Answer = dict[str, Any]


def measured_of(row: Row, price: LinePrice) -> Measured:
    """Read what a cut line has measured."""
    fees = Fraction(row["amount"]) if basis_of(price) == "EVENTS" else Fraction(0)
    return Measured(Fraction(row["exact_quantity"] or row["quantity"]), row["event_count"], fees)


def cell_of(price: LinePrice, cell: str) -> list[str] | str | None:
    """Show which cell of its line a line is; the fee of them all is none."""
    if basis_of(price) != "CELLS":
        return None
    return cell if cell == FEE_CELL else list(cell_values(cell))


def meter_of(row: Row) -> Answer | None:
    """Show the meter of a cut line, None where no events feed it."""
    if row["usage_product_ref"] is None:
        return None
    return {
        "usage_product_ref": row["usage_product_ref"],
        "name": row["meter_name"],
        "unit": row["unit"],
        "aggregation": row["aggregation"],
        "formula": row["formula"],
    }


def digest_of(cut: Row | None) -> str | None:
    """Show the digest of a cut line's events, None without any."""
    if cut is None or cut["events_digest"] is None:
        return None
    return bytes(cut["events_digest"]).hex()


def step(name: str, how: str, amount: Fraction) -> Answer:
    """Show a step of the arithmetic."""
    return {"step": name, "how": how, **figure("amount", amount)}


def figure(name: str, value: Fraction) -> Answer:
    """Show a number, and where its digits never end, also as a fraction."""
    exact = None if decimal_text(value) is not None else str(value)
    return {name: json_number(value), f"exact_{name}": exact}


def json_number(value: Fraction) -> msgspec.Raw:
    """Write a number with all its digits; of those without end, as many as amounts have."""
    text = decimal_text(value)
    if text is None:
        text = decimal_text(Fraction(round_fraction(value, AMOUNT_DIGITS), 10**AMOUNT_DIGITS))
        assert text is not None, "decimal by construction"
    return msgspec.Raw(text.encode())


def tier_of(tier: TierCharge) -> Answer:
    """Show what a tier came to."""
    up_to: Quantity | None = tier.up_to
    prices: tuple[Price, Price] = (tier.unit_price, tier.flat_fee)
    return {
        "up_to": None if up_to is None else json_number(Fraction(up_to, ONE)),
        "quantity": json_number(Fraction(tier.quantity, ONE)),
        "unit_price": json_number(Fraction(prices[0], ONE)),
        "flat_fee": json_number(Fraction(prices[1], ONE)),
        "amount": json_number(Fraction(tier.amount, 10**AMOUNT_DIGITS)),
    }
