"""Conservation: whatever the rater has passed in the log is in the books once, and counted."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Final

from deploy.verify.check import Check, Scope, by_statements, dotted
from runtime.postgres import Queries

queries = Queries.beside(__file__, "partitions.sql")

CHECKS: Final = (
    Check(
        name="conservation",
        sentence="every offset passed has one outcome: rated, repeated, amending, dead or skipped",
        unit="offsets",
        run=by_statements(queries.offsets_counted, queries.offsets_broken, per_tenant=False),
    ),
    Check(
        name="counters",
        sentence="every counter of a partition equals the rows that it counts",
        unit="rows",
        run=by_statements(queries.counters_counted, queries.counters_broken, per_tenant=False),
    ),
    Check(
        name="places",
        sentence="no place in the log is in the books twice, or before it was rated",
        unit="places",
        run=by_statements(queries.places_counted, queries.places_broken, per_tenant=False),
    ),
    Check(
        name="work",
        sentence="nothing that the rater was asked for waits longer than 15 minutes",
        unit="things to do",
        run=by_statements(queries.work_counted, queries.work_late, per_tenant=False),
    ),
)


@dataclass(frozen=True, kw_only=True)
class Conservation:
    """What became of all accepted records: those in the log that the rater has passed."""

    total: int
    rated: int
    duplicates: int
    conflicts: int
    dead_letters: int
    unrated: int
    amendments: int

    @property
    def outcomes(self) -> Mapping[str, int]:
        """Every outcome, in the order in which people ask."""
        counts = asdict(self)
        del counts["total"]
        return {name.replace("_", " "): count for name, count in counts.items()}

    @property
    def difference(self) -> int:
        """How many accepted records have no outcome; below zero, more than one."""
        return self.total - sum(self.outcomes.values())

    def __str__(self) -> str:
        return f"{self.total:,} accepted = {dotted(self.outcomes)}, difference {self.difference:,}"


async def load_conservation(scope: Scope) -> Conservation:
    """Add the partitions up."""
    row = await scope.connection.fetchrow(queries.conservation)
    assert row is not None, "an aggregate has one row"
    return Conservation(**dict(row))
