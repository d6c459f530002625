"""Feeds: how the events of one meter count in the lines of another, times an exact factor. Pure.

A meter's events count in its own lines, and in those of every meter above it: its parent, its
parent's parent and so on, by the product of the factors on the way. A CREDIT meter takes away from
the meter that it offsets, which is a factor of -1 and nothing else. A meter has one way up, so that
an event counts once in a line.
"""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Final, Literal, Self, get_args

import msgspec

from schemas.errors import InvalidInput
from schemas.meter_formula import Formula, parse_formula
from schemas.money import ONE, Quantity, round_ratio

Relation = Literal["DEBIT", "CREDIT"]

RELATIONS: Final[tuple[Relation, ...]] = get_args(Relation)

DEPTH_MAX: Final = 8
"""Meters above one another that an event may count in beside its own."""

FACTOR_MAX: Final = 10**9
"""What a factor, or the product of those on a way up, is at most; 1 / 10**18 is the least."""

WHOLE: Final = Fraction(1)
CREDITED: Final = Fraction(-1)
_FACTOR_MIN: Final = Fraction(1, ONE)


def times(quantity: int, factor: Fraction) -> Quantity:
    """Multiply a quantity, to 18 digits, a half away from zero."""
    if factor is WHOLE:
        return Quantity(quantity)
    product, denominator = quantity * factor.numerator, factor.denominator
    return Quantity(product if denominator == 1 else round_ratio(product, denominator))


class Feed(msgspec.Struct, frozen=True):
    """How a meter's events count in a line. formula: of their own meter; the line's has no say."""

    factor: Fraction = WHOLE
    formula: Formula | None = None

    @classmethod
    def of(cls, factor: Decimal, formula: str | None) -> Self:
        """Build from the columns of `meter_feed` and of the events' meter."""
        exact = WHOLE if factor == 1 else Fraction(factor)
        return cls(exact, None if formula is None else parse_formula(formula))

    def counted(self, quantity: int, data: str | None) -> Quantity:
        """Return what an event counts as, from its quantity and its additional data."""
        formula = self.formula
        billable = quantity if formula is None else formula.billable(quantity, data)
        return times(billable, self.factor)


OWN: Final = Feed()
"""How a meter without a formula counts in its own lines."""


class Link(msgspec.Struct, frozen=True):
    """A meter among those of its tenant. factor: toward its parent, below zero of a CREDIT."""

    name: str
    aggregation: str
    parent: int | None = None
    factor: Fraction = WHOLE


def ways_up(links: Mapping[int, Link], meter_id: int) -> Iterator[tuple[int, Fraction]]:
    """Yield the meters above one, the nearest first, each with the product of the factors.

    Raises InvalidInput `relation_cycle` where they come back to it.
    """
    factor, at = links[meter_id].factor, links[meter_id].parent
    while at is not None:
        if at == meter_id:
            detail = f"{links[at].name!r} would count toward itself: name a meter that is not below"
            raise InvalidInput("relation_cycle", detail)
        yield at, factor
        factor, at = factor * links[at].factor, links[at].parent


def _ways_down(links: Mapping[int, Link], meter_id: int) -> list[tuple[int, int, Fraction]]:
    """Return the meters below one and itself: how far down, and the product of the factors."""
    children: dict[int, list[int]] = {}
    for child, link in links.items():
        if link.parent is not None:
            children.setdefault(link.parent, []).append(child)
    found = [(meter_id, 0, WHOLE)]
    for at, depth, factor in found:  # it grows while it is walked
        found += [
            (child, depth + 1, factor * links[child].factor) for child in children.get(at, ())
        ]
    return found


def check_link(links: Mapping[int, Link], changed: int) -> None:
    """Refuse what a tenant's meters would be once the relation or aggregation of one is changed.

    links: as they would be, without a cycle but perhaps through the one that is changed.
    Raises InvalidInput.
    """
    above = [(changed, WHOLE), *ways_up(links, changed)]
    below = _ways_down(links, changed)
    if len(above) - 1 + max(depth for _, depth, _ in below) > DEPTH_MAX:
        detail = f"more than {DEPTH_MAX} meters would be above one another"
        raise InvalidInput("relation_too_deep", detail)
    for upper, factor_up in above:
        for lower, _, factor_down in below:
            factor = factor_down * factor_up
            if not _FACTOR_MIN <= abs(factor) <= FACTOR_MAX:
                detail = (
                    f"the factors from {links[lower].name!r} up to {links[upper].name!r} multiply "
                    "to less than 1e-18 or more than 1e9"
                )
                raise InvalidInput("relation_factor_out_of_range", detail)
            if links[upper].aggregation == "UNIQUE" and factor != WHOLE:
                detail = (
                    f"{links[upper].name!r} counts different values, which can't be multiplied nor "
                    f"taken away: {links[lower].name!r} must count toward it by a factor of 1"
                )
                raise InvalidInput("relation_not_applicable", detail)
