"""Proration: the share of a fee that falls into a partial period, by days, cumulatively.

Each part of a cycle costs what the fee has come to by its last day, rounded, less what it had come
to before its first. So the parts of a cycle always add up to the whole fee, whichever way it is
cut: by a contract's start, its end, a cancellation, or all of them. Usage is never prorated.
"""

from fractions import Fraction

from schemas.money import round_fraction
from schemas.periods import Part


def prorate(fee: Fraction, part: Part, digits: int) -> int:
    """Return the part's share of a whole cycle's fee, in minor.

    fee: in the currency, exact. digits: of the currency's minor unit.
    """
    through = round_fraction(fee * Fraction(part.through, part.whole), digits)
    before = round_fraction(fee * Fraction(part.before, part.whole), digits)
    return through - before


def prorated_bound(fee: Fraction, part: Part, digits: int) -> Fraction:
    """Return a minimum or maximum fee for the part, in the currency.

    A whole cycle's fee stays exact, since the line that it bounds is rounded later; a share of it
    is rounded here, since shares must add up.
    """
    if part.is_whole:
        return fee
    return Fraction(prorate(fee, part, digits), 10**digits)
