"""Amendments that wait for their events, as the owner of a partition remembers them. Pure data.

An amendment names its event by the event's own ref or by one that is a month off: the ref that a
copy stamped anew beyond a month's bound was answered. All of these share their stem.
"""

from collections import Counter
from collections.abc import Iterable, Sequence, Set
from typing import Final

import msgspec

from schemas.event_ref import MONTHS, month_of, with_month
from schemas.retrying import Origin

STEM_MASK: Final = with_month((1 << 128) - 1, 0)
"""The bits of a ref that do not depend on the month."""

NEVER: Final = 1 << 62
"""Later than any append time, in milliseconds since 1970."""


class Pending(msgspec.Struct, frozen=True):
    """One amendment that waits; its record lies in the table.

    ref: the event's, as the amendment names it. offset: its place. appended_at: milliseconds since
    1970. origin: of a retried dead letter, the place that it first had.
    """

    ref: int
    offset: int
    appended_at: int
    tenant_id: int
    origin: Origin | None


class Waiting:
    """All amendments that wait in one partition, as last committed."""

    def __init__(self, pending: Iterable[Pending] = ()) -> None:
        self._by_stem: dict[int, list[Pending]] = {}
        self._count = 0
        self.by_tenant: Counter[int] = Counter()
        for one in pending:
            self.add(one)

    def __len__(self) -> int:
        return self._count

    @property
    def stems(self) -> Set[int]:
        """The stems of the events that are waited for."""
        return self._by_stem.keys()

    def add(self, one: Pending) -> None:
        """Remember one; they are added in the order of the log."""
        self._by_stem.setdefault(stem(one.ref), []).append(one)
        self._count += 1
        self.by_tenant[one.tenant_id] += 1

    def remove(self, one: Pending) -> None:
        """Forget one that has been added."""
        key = stem(one.ref)
        self._by_stem[key].remove(one)
        if not self._by_stem[key]:
            del self._by_stem[key]
        self._count -= 1
        self.by_tenant[one.tenant_id] -= 1

    def for_event(self, ref: int) -> list[Pending]:
        """Return those that may mean an event, in the order of the log."""
        return [one for one in self._by_stem.get(stem(ref), ()) if may_mean(one.ref, ref)]

    def appended_by(self, instant: int) -> list[Pending]:
        """Return those that the log took at this instant or before, in its order."""
        return [one for one in self.in_order() if one.appended_at <= instant]

    def in_order(self) -> list[Pending]:
        """Return all of them, in the order of the log."""
        everything = [one for group in self._by_stem.values() for one in group]
        return sorted(everything, key=lambda one: one.offset)

    def oldest(self) -> int:
        """Return when the log took the first of them, or NEVER."""
        return min(
            (o.appended_at for group in self._by_stem.values() for o in group), default=NEVER
        )


def stem(ref: int) -> int:
    """Return what of an event's ref does not depend on its month."""
    return ref & STEM_MASK


def may_mean(named: int, ref: int) -> bool:
    """Tell whether an amendment that names one ref may mean the event of another one."""
    return stem(named) == stem(ref) and abs(month_of(named) - month_of(ref)) <= 1


def meanings(named: int) -> Sequence[int]:
    """Return the refs that an amendment may mean, the first that exists is meant."""
    month = month_of(named)
    near = [other for other in (month - 1, month + 1) if 0 <= other < MONTHS]
    return [named, *(with_month(named, other) for other in near)]
