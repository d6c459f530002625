"""FORMULA: an expression over a period's total, the count of its events and the line's tiers.

    max(q - 1000, 0) * 0.02 + event_count * 0.005
    if(q > tiers[0].up_to, volume * 0.9, graduated)

`q` is the billable quantity, >= 0; `event_count` how many events there were; `tiers[0].unit_price`
and the like what the tiers say; `graduated`, `volume` and `stairstep` what these models make of q
and the tiers. `formula_bounds` has proved that an expression has a value whatever they are. A value
may have digits without end, such as q / 3: lines are rounded from it, and nothing before them.
"""

from fractions import Fraction
from functools import lru_cache
from typing import Any, Final

from schemas.errors import InvalidInput
from schemas.expression import Expression, Path, Run
from schemas.money import AMOUNT_DIGITS
from schemas.pricing.formula_bounds import NAMES, prove
from schemas.pricing.formula_code import Code, Given, compile_formula, named
from schemas.pricing.reading import Reader
from schemas.pricing.terms import LinePrice, PricingModel, Tier
from schemas.pricing.tiers import UNIT_PRICE, read_tiers, write_tiers

_ONE_AMOUNT: Final = 10**AMOUNT_DIGITS
_CODE: Final = "formula_code"


FORMULAS_KEPT: Final = 1_024
"""Expressions whose tree is kept; each takes up to 60 kB."""


@lru_cache(maxsize=FORMULAS_KEPT)
def _parsed(text: str) -> Expression:
    return Expression.parse(text, names=NAMES)


@lru_cache(maxsize=FORMULAS_KEPT)
def _prove(text: str, tiers: tuple[Tier, ...]) -> None:
    """Prove an expression once, though its price is read from the database again and again."""
    prove(_parsed(text).tree, tiers)


def needs_count(price: LinePrice) -> bool:
    """Tell whether the amount depends on how many events there were."""
    return ("event_count",) in _parsed(price.expression).paths


def ratio(price: LinePrice, quantity: int, event_count: int | None) -> tuple[int, int]:
    """Compute the money, in the currency, as a numerator and a denominator."""
    if event_count is None:
        assert not needs_count(price), "the price depends on the count of events"
        event_count = 0
    given = Given(price, quantity, event_count)
    code = _code_of(price)
    if code is not None:
        return code.numerator(given), code.denominator
    return evaluated(given).as_integer_ratio()


def _code_of(price: LinePrice) -> Code | None:
    """Return the price's code, made once and kept with it as its other derived values are."""
    kept = price.__dict__
    if _CODE not in kept:
        kept[_CODE] = compile_formula(_parsed(price.expression).tree, price.tiers)
    code: Code | None = kept[_CODE]
    return code


def evaluated(given: Given) -> Fraction:
    """Compute the money part by part, as fractions."""

    def find(path: Path) -> Fraction:
        part = named(path, given.price.tiers)
        return Fraction(part.numerator(given), part.denominator)

    return evaluate(given.price, Run(find))


def evaluate(price: LinePrice, run: Run) -> Fraction:
    """Compute the money in a run that finds what each name stands for."""
    value = _parsed(price.expression).evaluate(run)
    assert isinstance(value, Fraction), "proved to be a number"
    return value


def amount(price: LinePrice, quantity: int) -> int:
    """Price a total without a count of events."""
    return cut(*ratio(price, quantity, None))


def cut(numerator: int, denominator: int) -> int:
    """Cut money to an Amount, toward zero: no such number crosses a half on its way."""
    magnitude: int = abs(numerator) * _ONE_AMOUNT // denominator
    return -magnitude if numerator < 0 else magnitude


def _read(reader: Reader) -> dict[str, Any]:
    tiers = read_tiers(reader, UNIT_PRICE, "flat_fee") if "tiers" in reader.present else ()
    text = reader.fields.get("expression")
    if text is None:
        return {"tiers": tiers}
    if not isinstance(text, str):
        reader.add("type_string", "must be a text", "expression")
        return {"tiers": tiers}
    try:
        _prove(text, tiers)
    except InvalidInput as error:
        reader.add(error.code, error.detail, "expression")
    return {"tiers": tiers, "expression": text}


def _write(price: LinePrice) -> dict[str, object]:
    fields: dict[str, object] = {"expression": price.expression}
    if price.tiers:
        fields["tiers"] = write_tiers(price, UNIT_PRICE, "flat_fee")
    return fields


MODEL = PricingModel(
    required=frozenset({"expression"}),
    optional=frozenset({"tiers"}),
    read=_read,
    write=_write,
    amount=amount,
    ratio=ratio,
)
