"""From which day a change of a contract counts: the bounds of its billing periods. Pure."""

from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from schemas.periods import BillingTerms, Period, Row, first_instant, period_at

_MOMENT = timedelta(microseconds=1)


class Standing(Struct, frozen=True):
    """A contract product as one version of its contract has it.

    row: with the columns of `list_contract_products`. lines: those of `list_contract_lines`.
    terms: within the days that it counts on, as if all that was edited were swapped in already.
    """

    row: Row
    lines: Sequence[Row]
    terms: BillingTerms

    @classmethod
    def of(cls, row: Row, lines: Sequence[Row]) -> "Standing":
        """Build from rows."""
        return cls(row, lines, replace(BillingTerms.of_row(row), until=row["ends_date"]))

    @property
    def ref(self) -> UUID:
        """The ref of the contract product."""
        ref: UUID = self.row["contract_product_ref"]
        return ref

    @property
    def meters(self) -> set[int]:
        """The meters that it prices."""
        return {line["meter_id"] for line in self.lines if line["meter_id"] is not None}

    def reaches(self, day: date) -> bool:
        """Tell whether it counts on a day or one after it."""
        return self.terms.end_day is None or self.terms.end_day > day


def chain_of(last: Standing, products: Sequence[Standing]) -> list[Standing]:
    """Return a product and all that it took the place of, the last first."""
    chain = [last]
    for one in chain:  # it grows meanwhile
        known = {known.ref for known in chain}
        chain += [
            other
            for other in products
            if one.ref in (other.row["successors"] or ()) and other.ref not in known
        ]
    return chain


def boundary(terms: Sequence[BillingTerms], now: datetime, *, includes_current: bool) -> date:
    """Return the first day of the running period, or else of the one after it.

    terms: of one product, each of a time of its own. Before they begin it is the day on which they
    do; once they have ended, the last period counts as the running one.
    """
    running = next((p for one in terms if (p := period_at(one, now)) is not None), None)
    if running is None:
        running = max(_ended(terms, now), key=lambda period: period.end, default=None)
    if running is None:
        return min(one.first_day for one in terms)
    return running.start_date if includes_current else running.end_date


def _ended(terms: Sequence[BillingTerms], now: datetime) -> Iterator[Period]:
    """Yield the last period of each that has ended."""
    for one in terms:
        if one.end_day is not None and one.first_day < one.end_day:
            end = first_instant(one.end_day, one.timezone)
            last = period_at(one, end - _MOMENT) if end <= now else None
            if last is not None:
                yield last
