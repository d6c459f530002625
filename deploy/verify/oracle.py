"""A second opinion on money: prices, proration and rounding, written apart from the product's own.

It shares no line with `schemas/price.py`, `schemas/money.py` or `invoicer/`, works in fractions of
the whole currency instead of scaled integers, and prefers the plain way to the fast one.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, Inexact, localcontext
from fractions import Fraction
from functools import lru_cache, partial
from math import ceil, floor
from typing import Any, Final

from deploy.verify.check import CannotCheck
from deploy.verify.formula import Names, evaluate

HUNDRED: Final = 100
_EVENT_FEES: Final = {"fixed_fee", "minimum_per_event", "maximum_per_event", "included_events"}
_STORED_DIGITS: Final = 36
_DIGITS_MAX: Final = 400  # more than any stored number has


@dataclass(frozen=True, kw_only=True)
class Tier:
    """One step of a tiered price; up_to is None for the open last one."""

    up_to: Fraction | None
    unit_price: Fraction
    flat_fee: Fraction


@dataclass(frozen=True, kw_only=True)
class EachEvent:
    """What an event costs beside its share, and how many of a period's first ones cost nothing."""

    fee: Fraction
    minimum: Fraction | None
    maximum: Fraction | None
    free: int


@dataclass(frozen=True, kw_only=True)
class Price:
    """The price of a pricing line.

    quantity: of a FLAT price. rate: percent, of a PERCENTAGE without tiers. package_size: units;
    rounds_down: a started package is free. each: of a price of events, not of a total. keys, cells:
    of a MATRIX, the keys of additional data and the price of a unit by their values. expression:
    of a FORMULA. included: units free of charge. minimum, maximum: fees for a whole period.
    discount: percent. is_recurring: otherwise due in the first period alone.
    """

    model: str
    unit_price: Fraction
    tiers: tuple[Tier, ...]
    quantity: Fraction
    rate: Fraction
    package_size: Fraction
    rounds_down: bool
    each: EachEvent | None
    keys: tuple[str, ...]
    cells: Mapping[tuple[str, ...], Fraction]
    expression: str
    included: Fraction
    minimum: Fraction | None
    maximum: Fraction | None
    discount: Fraction
    is_recurring: bool

    @property
    def is_metered(self) -> bool:
        """Tell whether a meter's total is priced, rather than a quantity of the price's own."""
        return self.model != "FLAT"


@lru_cache(maxsize=4_096)
def read_price(text: str) -> Price:
    """Read a price as it is stored: API field names, numbers as text."""
    fields = json.loads(text, parse_float=Decimal)
    tiers = tuple(
        Tier(
            up_to=_optional(tier, "up_to"),
            unit_price=_number(tier, "unit_price") + _number(tier, "rate") / HUNDRED,
            flat_fee=_number(tier, "flat_fee"),
        )
        for tier in fields.get("tiers", ())
    )
    return Price(
        model=fields["model"],
        unit_price=_number(fields, "price"),
        tiers=tiers,
        quantity=_number(fields, "quantity", 1),
        rate=_number(fields, "rate"),
        package_size=_number(fields, "package_size", 1),
        rounds_down=fields.get("package_rounding") == "DOWN",
        expression=fields.get("expression", ""),
        each=None if _EVENT_FEES.isdisjoint(fields) else _each_event(fields),
        keys=tuple(fields.get("dimensions", ())),
        cells={tuple(c["values"]): _number(c, "unit_price") for c in fields.get("cells", ())},
        included=_number(fields, "included_quantity"),
        minimum=_optional(fields, "minimum_fee"),
        maximum=_optional(fields, "maximum_fee"),
        discount=_number(fields, "discount"),
        is_recurring=fields.get("recurring", True) is not False,
    )


def _each_event(fields: Mapping[str, Any]) -> EachEvent:
    return EachEvent(
        fee=_number(fields, "fixed_fee"),
        minimum=_optional(fields, "minimum_per_event"),
        maximum=_optional(fields, "maximum_per_event"),
        free=int(_number(fields, "included_events")),
    )


def _number(fields: Mapping[str, Any], name: str, default: int = 0) -> Fraction:
    return Fraction(default if fields.get(name) is None else fields[name])


def _optional(fields: Mapping[str, Any], name: str) -> Fraction | None:
    return None if fields.get(name) is None else Fraction(fields[name])


def stored(amount: Fraction) -> Fraction:
    """Return an amount as it is stored: what goes beyond so many digits is cut off."""
    digits = int(abs(amount) * 10**_STORED_DIGITS)
    return Fraction(digits if amount > 0 else -digits, 10**_STORED_DIGITS)


def usage_amount(price: Price, quantity: Fraction, event_count: int, cell: str = "") -> Fraction:
    """Price a period's total before fees and discount: by magnitude, the sign kept.

    cell: of a MATRIX, a JSON array of the values, or nothing for what is in no cell.
    Raises CannotCheck for a model that is not known here.
    """
    if price.model == "MATRIX":
        units = max(abs(quantity) - price.included, Fraction(0))
        each = price.cells[tuple(json.loads(cell))] if cell else price.unit_price
        return units * each if quantity >= 0 else -units * each
    total = quantity if price.is_metered else price.quantity
    units = max(abs(total) - price.included, Fraction(0))
    if price.model == "FORMULA":
        amount = evaluate(price.expression, _formula_names(price, units, event_count))
    else:
        amount = _amount(price, price.model, units)
    return -amount if total < 0 else amount


@dataclass
class EventCosts:
    """What a period's events cost one by one, given in the order of their times and refs.

    place: how many there were. free_units: how many units are still free of charge.
    """

    price: Price
    place: int = 0
    free_units: Fraction = Fraction(0)
    amount: Fraction = Fraction(0)

    @classmethod
    def of(cls, price: Price) -> "EventCosts":
        """Return what no events cost."""
        return cls(price, free_units=price.included)

    def add(self, quantity: Fraction) -> None:
        """Price the next event."""
        each = self.price.each
        assert each is not None
        self.place += 1
        if self.place <= each.free:
            return
        free = min(self.free_units, abs(quantity))
        self.free_units -= free
        if free > 0 and free == abs(quantity):
            return
        cost = (abs(quantity) - free) * self.price.rate / HUNDRED + each.fee
        if each.minimum is not None:
            cost = max(cost, each.minimum)
        if each.maximum is not None:
            cost = min(cost, each.maximum)
        self.amount += -cost if quantity < 0 else cost


def events_amount(price: Price, quantities: Iterable[Fraction]) -> Fraction:
    """Price a period's events one by one, in the order of their times and refs."""
    costs = EventCosts.of(price)
    for quantity in quantities:
        costs.add(quantity)
    return costs.amount


def cell_of(price: Price, data: str | None) -> str:
    """Return the cell that an event's additional data names, as it is stored."""
    given = json.loads(data or "{}", parse_float=str, parse_int=str)
    words = {True: "true", False: "false"}
    found = [given.get(key) for key in price.keys]
    values = tuple(words[value] if isinstance(value, bool) else value for value in found)
    if not all(isinstance(value, str) for value in values) or values not in price.cells:
        return ""
    return json.dumps(values, ensure_ascii=False, separators=(",", ":"))


def _formula_names(price: Price, units: Fraction, event_count: int) -> Names:
    """Return what a formula may name, each computed only when it does."""
    names: dict[str, Callable[[], Fraction]] = {
        "q": lambda: units,
        "event_count": lambda: Fraction(event_count),
    }
    for model in ("GRADUATED", "VOLUME", "STAIRSTEP"):
        names[model.lower()] = partial(_amount, price, model, units)
    for place, tier in enumerate(price.tiers):
        for name in ("up_to", "unit_price", "flat_fee"):
            names[f"tiers[{place}].{name}"] = partial(getattr, tier, name)
    return names


def _amount(price: Price, model: str, units: Fraction) -> Fraction:
    """Price a magnitude."""
    if price.each is not None:
        raise CannotCheck("what events cost is not told by their total")
    match model:
        case "FLAT" | "PER_UNIT":
            return units * price.unit_price
        case "PACKAGE":
            packages = units / price.package_size
            return price.unit_price * (floor(packages) if price.rounds_down else ceil(packages))
        case "PERCENTAGE" if not price.tiers:
            return units * price.rate / HUNDRED
        case "GRADUATED" | "PERCENTAGE":
            return _graduated(price.tiers, units)
        case "VOLUME" | "STAIRSTEP":
            tier = next(tier for tier in price.tiers if tier.up_to is None or units <= tier.up_to)
            return tier.flat_fee + (units * tier.unit_price if model == "VOLUME" else 0)
        case _:
            raise CannotCheck(f"how {model} is priced is not known here")


def _graduated(tiers: tuple[Tier, ...], units: Fraction) -> Fraction:
    """Price every unit in its own tier; the first tier is entered by nothing at all."""
    amount = lower = Fraction(0)
    for position, tier in enumerate(tiers):
        if position > 0 and units <= lower:
            break
        upper = units if tier.up_to is None else min(units, tier.up_to)
        amount += tier.flat_fee + (upper - lower) * tier.unit_price
        lower = upper if tier.up_to is None else tier.up_to
    return amount


@dataclass(frozen=True, kw_only=True)
class Days:
    """The days of a whole cycle that a period covers: after `before`, up to `through`."""

    before: int
    through: int
    whole: int

    @classmethod
    def between(cls, start: date, end: date, full_start: date, full_end: date) -> "Days":
        """Count a period's days within its whole cycle; ends are exclusive."""
        return cls(
            before=(start - full_start).days,
            through=(end - full_start).days,
            whole=(full_end - full_start).days,
        )


def line_amount(
    price: Price,
    quantity: Fraction,
    event_count: int,
    days: Days,
    digits: int,
    usage: Fraction | None = None,
) -> Fraction:
    """Price a line for a document: fees that bound it, its discount, one rounding.

    usage: what it came to before that, where its total does not tell: of events, or of all cells.
    """
    amount = usage_amount(price, quantity, event_count) if usage is None else usage
    amount = bounded(price, amount, days, digits)
    amount -= amount * price.discount / HUNDRED
    if price.is_metered or not price.is_recurring:
        return rounded(amount, digits)
    return prorated(amount, days, digits)


def bounded(price: Price, amount: Fraction, days: Days, digits: int) -> Fraction:
    """Raise an amount to the minimum fee of a period, or hold it at the maximum."""
    minimum, maximum = price.minimum, price.maximum
    if price.is_metered:
        minimum, maximum = _share(minimum, days, digits), _share(maximum, days, digits)
    if minimum is not None:
        amount = max(amount, minimum)
    return amount if maximum is None else min(amount, maximum)


def _share(fee: Fraction | None, days: Days, digits: int) -> Fraction | None:
    """Return the fee that is due for so many days, exact when they are the whole cycle."""
    if fee is None or (days.before == 0 and days.through == days.whole):
        return fee
    return prorated(fee, days, digits)


def prorated(fee: Fraction, days: Days, digits: int) -> Fraction:
    """Return what a fee has come to by the last day, less what it had come to before the first."""
    through = rounded(fee * days.through / days.whole, digits)
    return through - rounded(fee * days.before / days.whole, digits)


def rounded(value: Fraction, digits: int) -> Fraction:
    """Round to so many digits, a half away from zero."""
    units = abs(value) * 10**digits
    whole = units.numerator // units.denominator
    if units - whole >= Fraction(1, 2):
        whole += 1
    return Fraction(whole if value > 0 else -whole, 10**digits)


def exact(value: Fraction) -> str:
    """Write a number with all of its digits, or as a fraction when they never end."""
    with localcontext(prec=_DIGITS_MAX) as context:
        context.traps[Inexact] = True
        try:
            return f"{Decimal(value.numerator) / Decimal(value.denominator):f}"
        except Inexact:
            return str(value)
