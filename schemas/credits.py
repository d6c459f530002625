"""Prepaid credits of a contract product: what was granted, drawn, expired and is left. Pure.

A grant is money of its own that pays for its product's periods, after tax. One that renews is
granted anew with every period; what is left of it then expires, but for as much as rolls over.
Everything follows from the grants, the periods in their order, and what was drawn for each of them:

    granted = drawn + expired + left

Where a contract is edited, the rows of a product's lineage have their grants in common, each at its
place, and their periods follow one another.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final, Literal

import msgspec

from schemas.money import round_fraction

GRANTS_MAX: Final = 20
"""Grants of one contract product."""

PRIORITY_MAX: Final = 1_000


class Grant(msgspec.Struct, frozen=True):
    """One grant. Money in minor.

    place: its place in the contract product's list. priority: the lowest is drawn first.
    starts, expires: the first and the last day that it is there for; None: no last day.
    renews: granted with every period. roll_over: how much of what is left goes into the next one.
    """

    place: int
    amount: int
    starts: date
    expires: date | None = None
    priority: int = 0
    renews: bool = False
    roll_over: int = 0
    name: str = ""

    @property
    def order(self) -> tuple[int, date, int]:
        """Order grants as they are drawn: by priority, then what expires first."""
        return self.priority, self.expires or date.max, self.place

    def pays_for(self, period: "Span") -> bool:
        """Tell whether it is there on a day of a period."""
        return self.starts < period.end_date and (
            self.expires is None or self.expires >= period.start_date
        )


class Span(msgspec.Struct, frozen=True):
    """The days of a billing period, the end exclusive."""

    start_date: date
    end_date: date


class Balance(msgspec.Struct):
    """What has become of a grant; in minor."""

    granted: int = 0
    drawn: int = 0
    expired: int = 0
    left: int = 0


Draws = Mapping[tuple[int, date], int]
"""What was drawn, by the grant's place and the period's first day."""


def walk(grant: Grant, periods: Iterable[Span], draws: Draws) -> list[Balance]:
    """Return a grant's balance behind each period, in their order."""
    balance = Balance()
    found = []
    for period in periods:
        _enter(grant, period, balance)
        drawn = draws.get((grant.place, period.start_date), 0)
        balance.drawn += drawn
        balance.left -= drawn
        found.append(msgspec.structs.replace(balance))
    return found


def _enter(grant: Grant, period: Span, balance: Balance) -> None:
    """Bring a balance to the beginning of a period."""
    pays = grant.pays_for(period)
    kept = min(balance.left, grant.roll_over) if grant.renews else balance.left
    if not pays:
        kept = 0
    balance.expired += balance.left - kept
    balance.left = kept
    if pays and (grant.renews or not balance.granted):
        balance.granted += grant.amount
        balance.left += grant.amount


def draw(
    grants: Sequence[Grant], periods: Sequence[Span], draws: Draws, start: date, due: int
) -> dict[int, int]:
    """Return what pays for a period, by the places of grants: as much of what is due as there is.

    start: the period's first day. periods: from the first one to the last that was drawn for, at
    least up to this one. What later periods have drawn stays theirs, should this one come after
    them.
    """
    drawn: dict[int, int] = {}
    for grant in sorted(grants, key=lambda grant: grant.order):
        if due <= 0:
            break
        period = next(period for period in periods if period.start_date == start)
        if not grant.pays_for(period):
            continue
        balances = zip(periods, walk(grant, periods, draws), strict=True)
        amount = min(due, _free([one for other, one in balances if other.start_date >= start]))
        if amount > 0:
            drawn[grant.place] = amount
            due -= amount
    return drawn


def _free(balances: Sequence[Balance]) -> int:
    """Return how much of a grant a period may draw, and leave to later ones what they have drawn.

    balances: behind that period and each later one. What would expire before the next one is free
    whatever that one draws.
    """
    free = balances[-1].left
    for earlier, later in zip(balances[-2::-1], balances[:0:-1], strict=True):
        free = min(earlier.left, later.expired - earlier.expired + free)
    return free


class _Stored(msgspec.Struct, frozen=True):
    amount: Decimal
    priority: int = 0
    starts: date | None = None
    expires: date | None = None
    every: Literal["ONCE", "PERIOD"] = "ONCE"
    roll_over: Decimal = Decimal(0)
    name: str = ""


_decode: Final = msgspec.json.Decoder(list[_Stored]).decode


def read_grants(text: str, digits: int, start: date) -> tuple[Grant, ...]:
    """Read a contract product's credits as they are stored.

    digits: of the currency. start: the product's first day, from which a grant is there unless it
    says otherwise.
    """
    return tuple(
        Grant(
            place=place,
            amount=round_fraction(Fraction(stored.amount), digits),
            starts=stored.starts or start,
            expires=stored.expires,
            priority=stored.priority,
            renews=stored.every == "PERIOD",
            roll_over=round_fraction(Fraction(stored.roll_over), digits),
            name=stored.name,
        )
        for place, stored in enumerate(_decode(text))
    )


def carried_on(stands: str, start: date, wanted: str, since: date) -> tuple[str, bool]:
    """Return the credits of a product that carries another one on, as they are to be stored.

    stands: those of the other one, stored, with its first day. wanted: what the product is to have
    from a day on: the same at their places, since what was granted stays granted, and more behind
    them, from that day on unless they say otherwise. The second says whether they are so.
    """
    before = [{"starts": start.isoformat(), **one} for one in _decode_any(stands)]
    after = _decode_any(wanted)
    first_days = [one["starts"] for one in before] + [since.isoformat()] * len(after)
    full = [{"starts": day, **one} for one, day in zip(after, first_days, strict=False)]
    is_kept = [_settled(one) for one in full[: len(before)]] == [_settled(one) for one in before]
    return msgspec.json.encode(full).decode(), is_kept


def _settled(stored: dict[str, Any]) -> _Stored:
    """Read one credit, so that numbers that are written otherwise are the same."""
    return msgspec.convert(stored, _Stored, strict=False)


_decode_any: Final = msgspec.json.Decoder(list[dict[str, Any]]).decode
