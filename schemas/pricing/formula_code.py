"""Turns a formula that was proved into whole-number arithmetic, ten times as fast as fractions.

Where a formula divides by nothing but what is written out, the denominator of each part is known
beforehand: a part is then the code for its numerator alone. A sum brings both sides to one
denominator, a product multiplies numerators, a comparison compares them. No digit is lost on the
way. Formulas that divide by what changes have no such code; they are evaluated as fractions.
"""

from collections.abc import Callable, Sequence
from fractions import Fraction
from math import lcm
from typing import Final, NamedTuple

import msgspec

from schemas.expression import Path
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
from schemas.money import AMOUNT_DIGITS, ONE, round_ratio
from schemas.pricing import graduated, stairstep, volume
from schemas.pricing.formula_bounds import FUNCTION_NAMES, tier_field
from schemas.pricing.terms import LinePrice, Tier


class Given(NamedTuple):
    """What a formula is evaluated with."""

    price: LinePrice
    quantity: int
    event_count: int


class Code(msgspec.Struct, frozen=True):
    """A number: its denominator, and what computes its numerator."""

    denominator: int
    numerator: Callable[[Given], int]


Test = Callable[[Given], bool]


class NoCodeError(Exception):
    """The formula divides by something that changes."""


_BY_TIERS: Final = {
    "graduated": graduated.amount,
    "volume": volume.amount,
    "stairstep": stairstep.amount,
}
_COMPARED: Final[dict[str, Callable[[int, int], bool]]] = {
    "==": int.__eq__,
    "!=": int.__ne__,
    "<": int.__lt__,
    "<=": int.__le__,
    ">": int.__gt__,
    ">=": int.__ge__,
}


def compile_formula(tree: Node, tiers: Sequence[Tier]) -> Code | None:
    """Return the code of a proved formula, None where it has none."""
    try:
        return _number(tree, tiers)
    except NoCodeError:
        return None


def _number(node: Node, tiers: Sequence[Tier]) -> Code:
    match node:
        case Name():
            return named(node.path, tiers)
        case Minus():
            inner = _number(node.inner, tiers)
            return Code(inner.denominator, lambda given: -inner.numerator(given))
        case Arithmetic():
            return _arithmetic(node, tiers)
        case Call():
            return _call(node, tiers)
        case Choice():
            is_this = _test(node.condition, tiers)
            denominator, (this, that) = _alike([_number(p, tiers) for p in (node.this, node.that)])
            return Code(denominator, lambda given: this(given) if is_this(given) else that(given))
        case _:
            assert isinstance(node, Constant)
            assert isinstance(node.constant, Fraction)
            return _constant(node.constant)


def _constant(value: Fraction) -> Code:
    numerator, denominator = value.as_integer_ratio()
    return Code(denominator, lambda _: numerator)


def named(path: Path, tiers: Sequence[Tier]) -> Code:
    """Return the code of what a name stands for."""
    name = str(path[0])
    if name == "q":
        return Code(ONE, lambda given: given.quantity)
    if name == "event_count":
        return Code(1, lambda given: given.event_count)
    if name == "tiers":
        return _constant(tier_field(tiers, path))
    amount = _BY_TIERS[name]
    return Code(10**AMOUNT_DIGITS, lambda given: amount(given.price, given.quantity))


def _alike(parts: Sequence[Code]) -> tuple[int, list[Callable[[Given], int]]]:
    """Bring numbers to one denominator."""
    denominator = lcm(*(part.denominator for part in parts))
    return denominator, [_scaled(part, denominator // part.denominator) for part in parts]


def _scaled(part: Code, factor: int) -> Callable[[Given], int]:
    numerator = part.numerator
    return numerator if factor == 1 else lambda given: numerator(given) * factor


def _arithmetic(node: Arithmetic, tiers: Sequence[Tier]) -> Code:
    found = _number(node.first, tiers)
    for operator, part in node.further:
        if operator == "/":
            found = _product(found, _inverse(part, tiers))
            continue
        operand = _number(part, tiers)
        found = _product(found, operand) if operator == "*" else _sum(found, operand, operator)
    return found


def _product(left: Code, right: Code) -> Code:
    one, other = left.numerator, right.numerator
    return Code(left.denominator * right.denominator, lambda given: one(given) * other(given))


def _sum(left: Code, right: Code, operator: str) -> Code:
    denominator, (one, other) = _alike([left, right])
    if operator == "+":
        return Code(denominator, lambda given: one(given) + other(given))
    return Code(denominator, lambda given: one(given) - other(given))


def _inverse(node: Node, tiers: Sequence[Tier]) -> Code:
    """Return the code of 1 / what is written out."""
    match node:
        case Constant() if isinstance(node.constant, Fraction):
            return _constant(1 / node.constant)
        case Name(path=("tiers", *_)):
            return _constant(1 / tier_field(tiers, node.path))
        case _:
            raise NoCodeError


def _call(node: Call, tiers: Sequence[Tier]) -> Code:
    name = FUNCTION_NAMES[node.apply]
    if name in ("round", "floor", "ceil"):
        return _rounded(name, node, tiers)
    denominator, parts = _alike([_number(argument, tiers) for argument in node.arguments])
    if name == "abs":
        (part,) = parts
        return Code(denominator, lambda given: abs(part(given)))
    choose = min if name == "min" else max
    if len(parts) == 1:
        return Code(denominator, parts[0])
    if len(parts) == 2:  # noqa: PLR2004 - as most are, and quicker than a list
        one, other = parts
        return Code(denominator, lambda given: choose(one(given), other(given)))
    return Code(denominator, lambda given: choose([part(given) for part in parts]))


def _rounded(name: str, node: Call, tiers: Sequence[Tier]) -> Code:
    """Round to a whole count of units, a unit being 10 to the power of minus the digits."""
    digits = 0
    if len(node.arguments) > 1:
        digits = int(Fraction(_number(node.arguments[1], tiers).numerator(_NOTHING)))
    value = _number(node.arguments[0], tiers)
    over, unit = value.denominator, Fraction(10) ** -digits
    times, over = unit.denominator, over * unit.numerator
    whole = _WHOLE[name]
    numerator = value.numerator
    up = unit.numerator
    return Code(unit.denominator, lambda given: whole(numerator(given) * times, over) * up)


_NOTHING: Final = Given(LinePrice("FORMULA"), 0, 0)
_WHOLE: Final[dict[str, Callable[[int, int], int]]] = {
    "round": round_ratio,
    "floor": int.__floordiv__,
    "ceil": lambda numerator, denominator: -(-numerator // denominator),
}


def _test(node: Node, tiers: Sequence[Tier]) -> Test:
    match node:
        case Not():
            inner = _test(node.inner, tiers)
            return lambda given: not inner(given)
        case Junction():
            parts = [_test(part, tiers) for part in node.parts]
            decide = all if node.is_and else any
            return lambda given: decide(part(given) for part in parts)
        case Comparison():
            return _comparison(node, tiers)
        case _:
            assert isinstance(node, Constant)
            truth = node.constant is True
            return lambda _: truth


def _comparison(node: Comparison, tiers: Sequence[Tier]) -> Test:
    compared = _COMPARED[node.operator]
    if _is_test(node.left):
        one_test, other_test = _test(node.left, tiers), _test(node.right, tiers)
        return lambda given: compared(one_test(given), other_test(given))
    _, (one, other) = _alike([_number(node.left, tiers), _number(node.right, tiers)])
    return lambda given: compared(one(given), other(given))


def _is_test(node: Node) -> bool:
    """Tell whether a proved part is true or false, rather than a number."""
    is_truth = isinstance(node, Constant) and isinstance(node.constant, bool)
    return is_truth or isinstance(node, Not | Junction | Comparison)
