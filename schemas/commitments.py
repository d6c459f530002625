"""Commitments: a minimum that a customer spends on a contract product, and what is missing to it.

What is spent is the product's total before its discount. A commitment a period is prorated by days
as fees are; one over the contract is looked at once, with the last period. The true-up is what the
product's total is raised by. Pure.
"""

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Final, Literal

import msgspec

from schemas.money import (
    ONE,
    PRICE_DIGITS,
    Price,
    decimal_to_scaled,
    round_fraction,
    scaled_to_text,
)
from schemas.periods import Part
from schemas.proration import prorate

Over = Literal["PERIOD", "CONTRACT"]

COMMITMENTS_MAX: Final = 2
"""Commitments of one contract product: one of each kind."""


class Commitment(msgspec.Struct, frozen=True):
    """A minimum spend, in the currency. over: what of; each period, or the whole contract."""

    over: Over
    amount: Price


class TrueUp(msgspec.Struct, frozen=True):
    """What a commitment came to, in minor. spent: before it. added: what was missing."""

    over: Over
    committed: int
    spent: int
    added: int


def true_up(
    commitments: Sequence[Commitment],
    total: int,
    part: Part,
    digits: int,
    spent_before: int | None,
) -> tuple[TrueUp, ...]:
    """Compare a product's total in a period with what was committed; in minor.

    spent_before: the totals of all periods before, for the last one; None for the others.
    """
    found = []
    for commitment in sorted(commitments, key=lambda one: one.over != "PERIOD"):
        whole = Fraction(commitment.amount, ONE)
        if commitment.over == "PERIOD":
            committed, spent = prorate(whole, part, digits), total
        elif spent_before is not None:
            committed, spent = round_fraction(whole, digits), spent_before + total
        else:
            continue
        added = max(committed - spent, 0)
        total += added
        found.append(TrueUp(commitment.over, committed, spent, added))
    return tuple(found)


def true_ups_json(true_ups: Sequence[TrueUp], digits: int) -> str:
    """Write true-ups as the API answers them, numbers in the currency."""
    rows = (
        f'{{"over":"{one.over}","amount":{scaled_to_text(one.committed, digits)}'
        f',"spent":{scaled_to_text(one.spent, digits)}'
        f',"true_up":{scaled_to_text(one.added, digits)}}}'
        for one in true_ups
    )
    return f"[{','.join(rows)}]"


class _Stored(msgspec.Struct, frozen=True):
    over: Over
    amount: Decimal


_decode: Final = msgspec.json.Decoder(list[_Stored]).decode


def read_commitments(text: str) -> tuple[Commitment, ...]:
    """Read a contract product's commitments as they are stored."""
    return tuple(
        Commitment(one.over, Price(decimal_to_scaled(one.amount, PRICE_DIGITS)))
        for one in _decode(text)
    )
