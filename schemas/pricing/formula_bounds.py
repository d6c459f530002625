"""Proves, before a formula is ever used, that it has a value for every total that there can be.

A price that failed would stop whoever rates by it. So each part of an expression is given bounds:
between which numbers its value lies, and how long its denominator may get. From these follows
whether a division may meet zero, and whether the bounds of evaluation are ever reached. What can't
be proved is refused, with what to write instead.
"""

from collections.abc import Sequence
from fractions import Fraction
from math import lcm, prod
from typing import Final

import msgspec

from schemas.expression import Path
from schemas.expression_functions import FUNCTIONS
from schemas.expression_nodes import (
    Arithmetic,
    Call,
    Choice,
    Comparison,
    Constant,
    Junction,
    Minus,
    Name,
    Node,
    Not,
)
from schemas.expression_values import NUMBER_BITS_MAX, STEPS_MAX, refuse
from schemas.money import AMOUNT_DIGITS, ONE
from schemas.pricing.terms import Tier

NAMES: Final = ("q", "event_count", "tiers", "graduated", "volume", "stairstep")

QUANTITY_MAX: Final = 10**56
"""No total is greater: the database sees to it."""

EVENT_COUNT_MAX: Final = 2**63
AMOUNT_MAX: Final = 10**100
"""No amount may be greater: the database would refuse it."""

FUNCTION_NAMES: Final = {
    FUNCTIONS[name].apply: name for name in ("abs", "min", "max", "round", "floor", "ceil")
}
_STEP_BITS: Final = 128
_TIER_FIELDS: Final = ("up_to", "unit_price", "flat_fee")
_ROUND_DIGITS_MAX: Final = 18
_REMEDY: Final = "min(q, 1000000)"


class Bounds(msgspec.Struct, frozen=True):
    """What is known of a number: low <= number <= high, and denominator of at most `denominator`.

    is_multiple: the number's denominator divides that one, so that it is shared by sums.
    """

    low: Fraction
    high: Fraction
    denominator: int = 1
    is_multiple: bool = True

    @property
    def bits(self) -> int:
        """How long a numerator or a denominator can get."""
        magnitude = max(abs(self.low), abs(self.high)) * self.denominator
        return max(int(magnitude).bit_length(), self.denominator.bit_length())


TRUTH: Final = None
"""The bounds of true and false."""


class Prover:
    """Walks the tree of a formula once, adding up the steps that its evaluation may take."""

    def __init__(self, tiers: Sequence[Tier]) -> None:
        self.tiers = tiers
        self.steps = 0

    def bounds(self, node: Node) -> Bounds | None:
        """Return the bounds of a number, TRUTH of a condition. Raises InvalidInput."""
        match node:
            case Constant():
                found = self._constant(node)
            case Name():
                found = self._name(node)
            case Minus():
                inner = self.number(node.inner)
                found = msgspec.structs.replace(inner, low=-inner.high, high=-inner.low)
            case Arithmetic():
                found = self._arithmetic(node)
            case Call() if node.apply in FUNCTION_NAMES:
                found = self._call(node, FUNCTION_NAMES[node.apply])
            case Choice():
                self.truth(node.condition)
                found = union([self.number(node.this), self.number(node.that)])
            case _:
                self._check_condition(node)
                found = TRUTH
        self.spend(found, node.at)
        return found

    def spend(self, found: Bounds | None, at: int) -> None:
        """Count what a value costs to make."""
        bits = 0 if found is None else found.bits
        if bits > NUMBER_BITS_MAX:
            detail = f"a number may get too long; bound what it is made of, as in {_REMEDY}"
            refuse("expression_number_too_long", at, detail)
        self.steps += 1 + bits // _STEP_BITS
        if self.steps > STEPS_MAX:
            refuse("expression_too_much_work", at, "there is too much to compute")

    def number(self, node: Node) -> Bounds:
        """Return the bounds of what has to be a number."""
        found = self.bounds(node)
        if found is None:
            refuse("expression_type", node.at, "a number is needed, and this is true or false")
        return found

    def truth(self, node: Node) -> None:
        """Check what has to be true or false."""
        if self.bounds(node) is not None:
            refuse("expression_type", node.at, "true or false is needed, and this is a number")

    def _constant(self, node: Constant) -> Bounds | None:
        if isinstance(node.constant, bool):
            return TRUTH
        if not isinstance(node.constant, Fraction):
            refuse("expression_type", node.at, "a price is computed with numbers alone")
        return exactly(node.constant)

    def _name(self, node: Name) -> Bounds:
        name = node.path[0]
        if name == "tiers":
            return exactly(tier_field(self.tiers, node.path, node.at))
        if len(node.path) > 1:
            refuse("expression_name_unknown", node.at, f"{name} has nothing inside")
        if name == "q":
            return Bounds(Fraction(0), Fraction(QUANTITY_MAX), ONE)
        if name == "event_count":
            return Bounds(Fraction(0), Fraction(EVENT_COUNT_MAX))
        return self._by_tiers(node)

    def _by_tiers(self, node: Name) -> Bounds:
        tiers = self.tiers
        if not tiers:
            refuse("expression_name_unknown", node.at, f"{node.path[0]} needs tiers")
        dearest = max(abs(tier.unit_price) for tier in tiers)
        fees = sum(abs(tier.flat_fee) for tier in tiers)
        most = Fraction(dearest * QUANTITY_MAX + fees, ONE)
        return Bounds(-most, most, 10**AMOUNT_DIGITS)

    def _arithmetic(self, node: Arithmetic) -> Bounds:
        found = self.number(node.first)
        for operator, part in node.further:
            operand = self.number(part)
            match operator:
                case "+":
                    found = total(found, operand, 1)
                case "-":
                    found = total(found, operand, -1)
                case "*":
                    found = product(found, operand)
                case _:
                    found = product(found, inverse(operand, part.at))
            self.spend(found, part.at)
        return found

    def _call(self, node: Call, name: str) -> Bounds:
        if name in ("round", "floor", "ceil"):
            return self._rounded(node)
        values = [self.number(argument) for argument in node.arguments]
        first = values[0]
        if name == "abs":
            low, high = sorted((abs(first.low), abs(first.high)))
            is_around_zero = first.low <= 0 <= first.high
            return msgspec.structs.replace(
                first, low=Fraction(0) if is_around_zero else low, high=high
            )
        choose = min if name == "min" else max
        return msgspec.structs.replace(
            union(values),
            low=choose(value.low for value in values),
            high=choose(value.high for value in values),
        )

    def _rounded(self, node: Call) -> Bounds:
        digits = 0
        if len(node.arguments) > 1:
            places = node.arguments[1]
            sign, inner = (-1, places.inner) if isinstance(places, Minus) else (1, places)
            if not isinstance(inner, Constant) or not isinstance(inner.constant, Fraction):
                refuse("expression_argument", places.at, "write the digits out, as in round(…, 2)")
            self.number(places)
            if inner.constant.denominator != 1 or inner.constant > _ROUND_DIGITS_MAX:
                detail = f"digits must be whole, from -{_ROUND_DIGITS_MAX} to {_ROUND_DIGITS_MAX}"
                refuse("expression_argument", places.at, detail)
            digits = sign * int(inner.constant)
        value = self.number(node.arguments[0])
        unit = Fraction(10) ** -digits
        return Bounds(value.low - unit, value.high + unit, unit.denominator)

    def _check_condition(self, node: Node) -> None:
        match node:
            case Comparison():
                left, right = self.bounds(node.left), self.bounds(node.right)
                is_about_equality = node.operator in ("==", "!=")
                if (left is None) != (right is None) or (left is None and not is_about_equality):
                    refuse("expression_type", node.at, "numbers are compared with numbers")
            case Junction():
                for part in node.parts:
                    self.truth(part)
            case Not():
                self.truth(node.inner)
            case _:
                detail = f"a price is computed with {', '.join(FUNCTION_NAMES.values())} and if"
                refuse("expression_function_unknown", node.at, detail)


def prove(tree: Node, tiers: Sequence[Tier]) -> None:
    """Check that an expression has an amount, always. Raises InvalidInput that says why not."""
    found = Prover(tiers).number(tree)
    if max(abs(found.low), abs(found.high)) > AMOUNT_MAX:
        detail = f"the amount may get too large; bound what it is made of, as in {_REMEDY}"
        refuse("expression_number_too_long", tree.at, detail)


def exactly(value: Fraction) -> Bounds:
    """Return the bounds of a number that is known."""
    return Bounds(value, value, value.denominator)


def union(parts: Sequence[Bounds]) -> Bounds:
    """Return the bounds of what is one of several numbers."""
    return Bounds(
        min(part.low for part in parts),
        max(part.high for part in parts),
        *_shared_denominator(parts, is_sum=False),
    )


def total(left: Bounds, right: Bounds, sign: int) -> Bounds:
    """Return the bounds of a sum, or with sign -1 of a difference."""
    low, high = sorted((right.low * sign, right.high * sign))
    return Bounds(
        left.low + low, left.high + high, *_shared_denominator([left, right], is_sum=True)
    )


def product(left: Bounds, right: Bounds) -> Bounds:
    """Return the bounds of a product."""
    corners = [one * other for one in (left.low, left.high) for other in (right.low, right.high)]
    return Bounds(
        min(corners),
        max(corners),
        left.denominator * right.denominator,
        left.is_multiple and right.is_multiple,
    )


def inverse(divisor: Bounds, at: int) -> Bounds:
    """Return the bounds of 1 / divisor. Raises InvalidInput where it may be zero."""
    if divisor.low <= 0 <= divisor.high:
        detail = "this may be zero, and nothing is divided by zero; divide by max(…, 1)"
        refuse("expression_division_by_zero", at, detail)
    low, high = 1 / divisor.high, 1 / divisor.low
    if divisor.low == divisor.high:
        return exactly(low)
    greatest = max(abs(divisor.low), abs(divisor.high)) * divisor.denominator
    return Bounds(low, high, int(greatest) + 1, is_multiple=False)


def _shared_denominator(parts: Sequence[Bounds], *, is_sum: bool) -> tuple[int, bool]:
    """Return the denominator of a sum of numbers, or of one of them."""
    denominators = [part.denominator for part in parts]
    if all(part.is_multiple for part in parts):
        return lcm(*denominators), True
    return prod(denominators) if is_sum else max(denominators), False


def tier_field(tiers: Sequence[Tier], path: Path, at: int = 0) -> Fraction:
    """Return what a path such as `tiers[0].up_to` names. Raises InvalidInput where nothing is."""
    place, name = path[1:] if len(path) == 3 else (None, None)  # noqa: PLR2004
    if not isinstance(place, int) or name not in _TIER_FIELDS:
        detail = f"a tier is named as in tiers[0].unit_price; it has {', '.join(_TIER_FIELDS)}"
        refuse("expression_name_unknown", at, detail)
    if place >= len(tiers):
        refuse("expression_name_unknown", at, f"there are {len(tiers)} tiers, counted from 0")
    value = getattr(tiers[place], str(name))
    if value is None:
        refuse("expression_name_unknown", at, "the last tier is open: it has no up_to")
    return Fraction(value, ONE)
