"""Alerts: which figure of a running period is compared with a threshold, and what is told. Pure."""

from fractions import Fraction
from typing import Final, Literal

import msgspec

from schemas.commitments import TrueUp
from schemas.money import ONE, QUANTITY_DIGITS, Quantity
from schemas.standing import Standing

AlertKind = Literal["QUANTITY", "AMOUNT", "INCLUDED_PERCENT", "COMMITMENT_PERCENT", "CREDIT_LEFT"]

OF_A_LINE: Final = frozenset({"QUANTITY", "AMOUNT", "INCLUDED_PERCENT"})
"""Kinds that look at a line; the others look at a contract product."""

_HUNDRED: Final = 100


def is_reached(kind: AlertKind, value: Fraction, threshold: Fraction) -> bool:
    """Tell whether a figure has reached a threshold; exactly at it, it has."""
    return value <= threshold if kind == "CREDIT_LEFT" else value >= threshold


def included_percent(quantity: Fraction, included: Quantity) -> Fraction | None:
    """Return how much of the included quantity is used, in percent; None where none is."""
    return abs(quantity) * _HUNDRED / Fraction(included, ONE) if included else None


def commitment_percent(true_ups: tuple[TrueUp, ...]) -> Fraction | None:
    """Return how much of a commitment is spent, in percent: of the period's where there is one."""
    first = next((one for one in true_ups if one.committed), None)
    return Fraction(max(first.spent, 0) * _HUNDRED, first.committed) if first else None


def credit_left(standing: Standing, digits: int) -> Fraction | None:
    """Return what is left of prepaid credits, in the currency; None where none were granted."""
    granted = any(balance.granted for _, balance in standing.credits)
    return Fraction(standing.credit_left, 10**digits) if granted else None


def shown_value(value: Fraction) -> str:
    """Write a figure as a decimal, cut off where its digits never end."""
    scaled = abs(value.numerator) * ONE // value.denominator
    whole, part = divmod(scaled, ONE)
    sign = "-" if value < 0 and scaled else ""
    return f"{sign}{whole}.{part:0{QUANTITY_DIGITS}}".rstrip("0").rstrip(".")


class AlertMessage(msgspec.Struct, kw_only=True, frozen=True):
    """A threshold that was reached: once for an alert, its version and a period.

    The record's key is the customer_ref. A record may come again after a failure: alert_ref,
    version and period_ref tell it. value is what the figure was then, threshold what it has
    reached; both are exact decimals, of units, of money in the currency, or percent. line_item_ref
    and usage_product_ref: of the line, null where the figure is of the whole contract product.
    period_end is the day after the last.
    """

    v: Literal[1] = 1
    alert_ref: str
    version: int
    name: str | None
    kind: AlertKind
    threshold: str
    value: str
    tenant_ref: str
    customer_ref: str
    contract_ref: str
    contract_product_ref: str
    line_item_ref: str | None
    usage_product_ref: str | None
    currency: str
    period_ref: str
    period_start: str
    period_end: str
    fired_at: str
