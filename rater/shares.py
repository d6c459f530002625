"""What events come to on lines whose meters add up otherwise than by sums and counts. Pure.

Sums and counts are moved by what an event adds, and most charges are of these. An average is moved
so, too; a count of values by the events that have each value. What a greatest, last, running or
time-weighted total comes to depends on all of a period's events: those that come in order are added
to it, and for any other change the period is folded again.
"""

from collections import Counter
from collections.abc import Iterable

import msgspec

from rater.memory import Charge, Line
from schemas.aggregation import ORDERED, Use, unique_value, value_digest


class Shares(msgspec.Struct):
    """What a transaction changes.

    sums: what is added to quantities and counts of events. values: by how much the count of events
    with a value grows. uses: of ordered charges, the events that are new. again: ordered charges
    that are to be folded again.
    """

    sums: dict[Charge, list[int]]
    values: dict[Charge, Counter[bytes]]
    uses: dict[Charge, list[Use]]
    again: set[Charge]

    @classmethod
    def empty(cls) -> "Shares":
        """Return no change."""
        return cls({}, {}, {}, set())

    def __bool__(self) -> bool:
        return bool(self.sums or self.uses or self.again)

    @property
    def charges(self) -> set[Charge]:
        """Every charge that is touched."""
        return {*self.sums, *self.uses, *self.again}

    def add(self, lines: Iterable[Line], use: Use, data: str | None) -> list[Charge]:
        """Count a new event in every line that covers it; return the charges that this moves."""
        return self._count(lines, use, data, 1)

    def move(self, lines: Iterable[Line], use: Use, data: str | None, sign: int) -> list[Charge]:
        """Count an event that an amendment moves, or with a sign of -1 take it out.

        What depends on other events is folded again once the amendment is stored.
        """
        moved = self._count([line for line in lines if not is_ordered(line)], use, data, sign)
        for line in lines:
            charge = line.charge_at(use.at, data) if is_ordered(line) else None
            if charge is not None:
                self.again.add(charge)
                moved.append(charge)
        return moved

    def _count(self, lines: Iterable[Line], use: Use, data: str | None, sign: int) -> list[Charge]:
        moved: list[Charge] = []
        for line in lines:
            charge = line.charge_at(use.at, data)
            if charge is None:
                continue
            moved.append(charge)
            if is_ordered(line):
                self.uses.setdefault(charge, []).append(use)
                continue
            total = self.sums.setdefault(charge, [0, 0])
            total[1] += sign
            if line.unique_key is None:
                total[0] += sign * use.quantity
                continue
            value = unique_value(data, line.unique_key)
            if value is not None:
                counts = self.values.setdefault(charge, Counter())
                counts[value_digest(value)] += sign
        return moved

    def joined(self, other: "Shares") -> "Shares":
        """Return what both change together."""
        if not other:
            return self
        both = Shares.empty()
        for one in (self, other):
            for charge, (quantity, count) in one.sums.items():
                total = both.sums.setdefault(charge, [0, 0])
                total[0] += quantity
                total[1] += count
            for charge, values in one.values.items():
                both.values.setdefault(charge, Counter()).update(values)
            for charge, uses in one.uses.items():
                both.uses.setdefault(charge, []).extend(uses)
            both.again |= one.again
        return both

    def count_late(self) -> int:
        """Return how many of the new events came for closed periods; only once they are known."""
        added = {charge: count for charge, (_, count) in self.sums.items()}
        added.update((charge, len(uses)) for charge, uses in self.uses.items())
        return sum(count for charge, count in added.items() if charge.period.last_cut_number)


def is_ordered(line: Line) -> bool:
    """Tell whether what an event adds to a line's total depends on the other events."""
    return line.aggregation in ORDERED
