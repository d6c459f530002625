"""How a line's amount came about, step by step, as a person would compute it again. Pure.

It follows `schemas.drafting`, which makes the amount, and keeps what each step comes to, exact
until the one that rounds. Should the two differ, `LineStory.amount` is not what the document says,
and whoever shows it has to say so.
"""

from collections.abc import Mapping
from fractions import Fraction
from typing import Final, Literal

import msgspec

from schemas.mean_price import exact_amount, mean_walk
from schemas.money import ONE, Price, round_fraction
from schemas.periods import Part
from schemas.price import basis_of, cell_price, cell_values, is_usage
from schemas.pricing.terms import LinePrice, TierCharge
from schemas.proration import prorate, prorated_bound

StepName = Literal[
    "USAGE", "MINIMUM_FEE", "MAXIMUM_FEE", "DISCOUNT", "PRORATION", "CELLS", "ROUNDING"
]

_HUNDRED: Final = 100


class Step(msgspec.Struct, frozen=True):
    """One step of the arithmetic. how: it, with its numbers. amount: what is reached, currency."""

    step: StepName
    how: str
    amount: Fraction


class LineStory(msgspec.Struct, frozen=True):
    """All of a line. billable: units past the included ones. amount: minor, rounded once.

    unrounded: what was rounded; of a prorated fee, which is rounded twice over, the fee's share.
    """

    billable: Fraction
    tiers: tuple[TierCharge, ...]
    steps: tuple[Step, ...]
    unrounded: Fraction
    amount: int


class Measured(msgspec.Struct, frozen=True):
    """What a line is priced by. quantity: in units, exact. fees: of events priced one by one."""

    quantity: Fraction
    event_count: int
    fees: Fraction = Fraction(0)


def explain_line(price: LinePrice, measured: Measured, part: Part, digits: int) -> LineStory:
    """Price a line again, keeping every step. price: of a cell, that of the cell alone."""
    story = _Story(price, part, digits)
    quantity = measured.quantity if is_usage(price) else Fraction(price.quantity, ONE)
    if basis_of(price) == "EVENTS":
        tiers: tuple[TierCharge, ...] = ()
        usage = measured.fees
        how = f"the fees of {measured.event_count:,} events, one by one"
    else:
        tiers = tuple(mean_walk(price, quantity)) if price.tiers else ()
        usage = exact_amount(price, quantity, measured.event_count)
        how = _usage_text(price, billable_units(price, quantity), measured.event_count)
    story.add("USAGE", how, usage)
    story.bound()
    story.round()
    return story.told(billable_units(price, quantity), tiers)


def explain_cells_fee(
    price: LinePrice, cells: Mapping[str, Fraction], rounded: int, part: Part, digits: int
) -> LineStory:
    """Explain what a fee of all cells together adds or takes off.

    cells: the quantity of each, by its name as it is stored. rounded: what they come to as they
    stand on the document, minor.
    """
    story = _Story(price, part, digits)
    usage = sum(
        (
            exact_amount(cell_price(price, cell_values(name)), quantity, 0)
            for name, quantity in cells.items()
        ),
        Fraction(0),
    )
    story.add("CELLS", f"all {len(cells)} cells together, unrounded", usage)
    if not story.bound():
        return story.told(Fraction(0), (), 0)
    story.round()
    own = Fraction(rounded, 10**digits)
    left = story.amount - own
    story.add("CELLS", f"less the {number(own)} of the cells' own lines", left)
    return story.told(Fraction(0), ())


class _Story:
    """Steps so far."""

    def __init__(self, price: LinePrice, part: Part, digits: int) -> None:
        self._price = price
        self._part = part
        self._digits = digits
        self._steps: list[Step] = []
        self._unrounded = Fraction(0)
        self.amount = Fraction(0)

    def add(self, step: StepName, how: str, amount: Fraction) -> None:
        """Reach an amount."""
        self._steps.append(Step(step, how, amount))
        self.amount = amount

    def bound(self) -> bool:
        """Raise to the minimum fee, hold at the maximum, take the discount off.

        Tells whether a fee has changed the amount.
        """
        price, usage = self._price, self.amount
        if price.minimum_fee is not None:
            fee, how = self._fee(price.minimum_fee)
            self.add("MINIMUM_FEE", f"at least {how}", max(self.amount, fee))
        if price.maximum_fee is not None:
            fee, how = self._fee(price.maximum_fee)
            self.add("MAXIMUM_FEE", f"at most {how}", min(self.amount, fee))
        has_changed = self.amount != usage
        if price.discount_percent:
            percent = Fraction(price.discount_percent, ONE)
            left = self.amount * (1 - percent / _HUNDRED)
            self.add("DISCOUNT", f"less {number(percent)} %", left)
        return has_changed

    def _fee(self, fee: Price) -> tuple[Fraction, str]:
        """Return the bound that is due for the period, and how it is made."""
        whole = Fraction(fee, ONE)
        if not is_usage(self._price) or self._part.is_whole:
            return whole, number(whole)
        share = prorated_bound(whole, self._part, self._digits)
        return share, f"{number(share)}, {days_text(self._part)} of {number(whole)}"

    def round(self) -> None:
        """Round once; a recurring fee of a partial period by its days."""
        price, part, digits = self._price, self._part, self._digits
        if not is_usage(price) and price.recurring and not part.is_whole:
            whole = self.amount
            share = Fraction(prorate(whole, part, digits), 10**digits)
            self._unrounded = whole * Fraction(part.through - part.before, part.whole)
            self.add("PRORATION", proration_text(whole, part, digits), share)
            return
        self._unrounded = self.amount
        rounded = Fraction(round_fraction(self.amount, digits), 10**digits)
        self.add("ROUNDING", f"to {digits} digits, a half away from zero", rounded)

    def told(
        self, billable: Fraction, tiers: tuple[TierCharge, ...], minor: int | None = None
    ) -> LineStory:
        """Return the story. minor: what it comes to, where not what was reached last."""
        if minor is None:
            minor = round_fraction(self.amount, self._digits)
        return LineStory(billable, tiers, tuple(self._steps), self._unrounded, minor)


def billable_units(price: LinePrice, quantity: Fraction) -> Fraction:
    """Return the signed units past the included ones."""
    magnitude = max(abs(quantity) - Fraction(price.included_quantity, ONE), Fraction(0))
    return -magnitude if quantity < 0 else magnitude


def _usage_text(price: LinePrice, units: Fraction, event_count: int) -> str:
    """Say how a model makes an amount of the billable units."""
    own = number(Fraction(price.price, ONE))
    match price.model:
        case "FLAT" | "PER_UNIT" | "MATRIX":
            return f"{number(units)} × {own}"
        case "PACKAGE":
            size = number(Fraction(price.package_size, ONE))
            start = "counts" if price.package_rounding == "UP" else "is free"
            return f"packages of {size} in {number(units)}, at {own}; a started one {start}"
        case "PERCENTAGE" if not price.tiers:
            rate = number(Fraction(price.price * _HUNDRED, ONE))
            return f"{rate} % of {number(units)}"
        case "FORMULA":
            return f"{price.expression}, where q is {number(units)} of {event_count:,} events"
        case "VOLUME" | "STAIRSTEP":
            return f"the tier that {number(units)} units fall in"
        case _:
            return f"{number(units)} units, each in its own tier"


def days_text(part: Part) -> str:
    """Say which days of a whole cycle a period covers."""
    if part.before:
        return f"days {part.before + 1} to {part.through} of {part.whole}"
    return f"{part.through} days of {part.whole}"


def proration_text(fee: Fraction, part: Part, digits: int) -> str:
    """Say how a fee is prorated: what it came to by the last day, less that before the first."""
    through = Fraction(round_fraction(fee * Fraction(part.through, part.whole), digits), 10**digits)
    text = f"{number(fee)} × {part.through}/{part.whole} is {number(through)}"
    if not part.before:
        return text
    before = Fraction(round_fraction(fee * Fraction(part.before, part.whole), digits), 10**digits)
    return f"{text}, less {number(fee)} × {part.before}/{part.whole}, which is {number(before)}"


def number(value: Fraction) -> str:
    """Write a number with all its digits, or as a fraction where they never end."""
    return decimal_text(value) or f"{value.numerator}/{value.denominator}"


def decimal_text(value: Fraction) -> str | None:
    """Write a number in full; None where its digits never end."""
    rest, twos, fives = value.denominator, 0, 0
    while rest % 2 == 0:
        rest, twos = rest // 2, twos + 1
    while rest % 5 == 0:
        rest, fives = rest // 5, fives + 1
    if rest != 1:
        return None
    digits = max(twos, fives)
    scaled = value.numerator * 10**digits // value.denominator
    return _scaled_text(scaled, digits)


def _scaled_text(scaled: int, digits: int) -> str:
    whole, fraction = divmod(abs(scaled), 10**digits)
    sign = "-" if scaled < 0 else ""
    return f"{sign}{whole}.{fraction:0{digits}d}" if digits else f"{sign}{whole}"
