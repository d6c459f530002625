"""What the sample month must cost, computed from its rows alone: an oracle without services."""

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from fractions import Fraction

from deploy.demo.sample import CUSTOMERS, METERS, Row

TAX = Fraction(21, 100)
CENT = Fraction(1, 100)


def is_billable(row: Row) -> bool:
    """Tell whether a row can be billed: said here again, in other words than the product's."""
    try:
        instant = datetime.fromisoformat(row.timestamp)
        quantity = Decimal(row.quantity)
    except (ValueError, ArithmeticError):
        return False
    exponent = quantity.as_tuple().exponent
    return (
        instant.tzinfo is not None
        and instant.year >= 2000
        and isinstance(exponent, int)
        and exponent >= -18
        and quantity.adjusted() < 20
        and len(row.key) <= 255
        and row.customer in {name for name, _, _ in CUSTOMERS}
        and row.meter in METERS
    )


def billed_once(rows: Iterable[Row]) -> dict[tuple[str, str], list[Decimal]]:
    """Return the quantities by customer and meter, the first of each key."""
    seen: set[tuple[str, str]] = set()
    quantities: dict[tuple[str, str], list[Decimal]] = {
        (name, meter): [] for name, _, _ in CUSTOMERS for meter in METERS
    }
    for row in rows:
        if is_billable(row) and (row.customer, row.key) not in seen:
            seen.add((row.customer, row.key))
            quantities[row.customer, row.meter].append(Decimal(row.quantity))
    return quantities


def invoice_totals(rows: Iterable[Row]) -> dict[str, Decimal]:
    """Return each customer's invoice total, tax included, by the demonstration's prices."""
    quantities = billed_once(rows)
    totals = {}
    for name, _, _ in CUSTOMERS:
        calls = sum(map(Fraction, quantities[name, "API calls"]))
        storage = sum(map(Fraction, quantities[name, "Storage GB-hours"]))
        messages = len(quantities[name, "Messages"])
        lines = [
            Fraction(490),
            _graduated(Fraction(calls)),
            storage * Fraction("0.000045"),
            messages * Fraction("0.0075"),
        ]
        net = sum(map(to_cents, lines))
        gross = net + to_cents(net * TAX)
        totals[name] = Decimal(gross.numerator) / Decimal(gross.denominator)
    return totals


def _graduated(calls: Fraction) -> Fraction:
    first = min(calls, Fraction(50_000)) * Fraction("0.004")
    second = max(Fraction(0), min(calls, Fraction(250_000)) - 50_000) * Fraction("0.0032")
    third = max(Fraction(0), calls - 250_000) * Fraction("0.0025")
    return first + second + third


def to_cents(amount: Fraction) -> Fraction:
    """Round half up; nothing here is negative."""
    return ((amount / CENT + Fraction(1, 2)) // 1) * CENT
