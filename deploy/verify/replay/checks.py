"""The checks of a full replay: what is stored beside what comes out, byte for byte, both ways."""

import json
from collections import Counter
from decimal import Decimal
from typing import Final

import asyncpg

from deploy.verify.check import CannotCheck, Check, Finding, Run, Scope, plural
from deploy.verify.replay.charging import charge
from deploy.verify.replay.judging import Outcomes, judge
from deploy.verify.replay.reading import Passed, Tell, read_log
from deploy.verify.replay.sink import queries
from schemas.errors import BillingError

_EVENTS: Final = (
    queries.events_differ,
    queries.versions_differ,
    queries.pending_differ,
    queries.conflicts_differ,
    queries.unrated_differ,
)
_WITHOUT: Final = "a replay gives none"


async def make_shadow(connection: asyncpg.Connection) -> None:
    """Make the shadow's tables; before the transaction that is to fill them, which only reads."""
    await connection.execute(queries.make_shadow)


def nothing_told(_what: str, _done: int, _total: int) -> None:
    """Tell nobody of progress."""


class Replay:
    """One replay, made when its first check asks for it and used by all."""

    def __init__(self, tell: Tell = nothing_told) -> None:
        self._tell = tell
        self._error = ""
        self._finding: Finding | None = None
        self.passed = Passed()
        self.outcomes = Outcomes()

    async def make(self, scope: Scope) -> Finding:
        """Replay the log, once; return what was found on the way. Raises CannotCheck."""
        if self._error:
            raise CannotCheck(self._error)
        if self._finding is None:
            try:
                self._finding = await self._make(scope)
            except (CannotCheck, BillingError, asyncpg.PostgresError) as error:
                self._error = str(error)
                raise
        return self._finding

    async def _make(self, scope: Scope) -> Finding:
        finding = Finding("records")
        await scope.connection.execute(queries.empty_shadow)
        self.passed = await read_log(scope, finding, self._tell)
        self.outcomes = await judge(scope, finding, self.passed, self._tell)
        await charge(scope, finding, self.passed.records, self._tell)
        self._tell("comparing", 0, 0)
        return finding

    async def check_events(self, scope: Scope, finding: Finding) -> None:
        """Compare events, amendments and conflicts; name what the log itself holds against them."""
        made = await self.make(scope)
        finding.counted = self.passed.records
        finding.difference += made.difference
        finding.witnesses += made.witnesses
        await _compare(scope, finding, *_EVENTS)

    async def check_counters(self, scope: Scope, finding: Finding) -> None:
        """Compare every counter of every partition."""
        await self.make(scope)
        rows = await scope.connection.fetch(queries.counters)
        partitions = len(rows)
        events = await _by_partition(scope, queries.accepted, partitions)
        unrated = await _by_partition(scope, queries.unrated, partitions)
        is_busy = bool(await scope.connection.fetch(queries.busy))
        for row in rows:
            finding.counted += 1
            own = row["partition"]
            expected = {
                "rated": events[own] - unrated[own],
                "unrated": unrated[own],
                "duplicates": self.outcomes.duplicates[own],
                "conflicts": self.outcomes.conflicts[own],
                "amendments": self.outcomes.amendments[own],
                "dead_letters": self.passed.dead[own],
                "skipped": self.passed.skipped[own],
            }
            found = {name: row[name] for name in expected}
            if is_busy:  # what is rated of the past moves from one to the other
                for counts in (expected, found):
                    counts["rated"] += counts.pop("unrated")
            for name, count in expected.items():
                if found[name] != count:
                    by = abs(found[name] - count)
                    what = f"{found[name]} {name.replace('_', ' ')} counted, a replay gives {count}"
                    finding.broken(f"partition {own}: {what}", by)
        await _compare(scope, finding, queries.skipped_differ, per_tenant=False)

    async def check_charges(self, scope: Scope, finding: Finding) -> None:
        """Compare the running charges, and the values that they count."""
        await self.make(scope)
        finding.counted = await scope.count(queries.count_charges, scope.tenant_id)
        await _compare(scope, finding, queries.charges_differ, queries.values_differ)
        if busy := await scope.connection.fetch(queries.busy):
            finding.notes.append(
                f"{plural(len(busy), 'contracts')} still rating past usage, not looked at"
            )

    async def check_cuts(self, scope: Scope, finding: Finding) -> None:
        """Compare what was cut, but for the digests, which have a check of their own."""
        await self.make(scope)
        finding.counted = await scope.count(queries.count_cuts, scope.tenant_id)
        await _compare(scope, finding, queries.cuts_differ)


async def _by_partition(scope: Scope, statement: str, partitions: int) -> Counter[int]:
    rows = await scope.connection.fetch(statement, max(partitions, 1))
    return Counter({row["partition"]: row["events"] for row in rows})


async def _compare(
    scope: Scope, finding: Finding, *statements: str, per_tenant: bool = True
) -> None:
    """Name whatever is stored otherwise than it was replayed."""
    arguments = (scope.tenant_id,) if per_tenant else ()
    for statement in statements:
        async for row in scope.rows(statement, *arguments):
            finding.broken(f"{row['name']} {_difference(row['stored'], row['replayed'])}")


def _difference(stored: str | None, replayed: str | None) -> str:
    """Say in which columns two rows differ."""
    if replayed is None:
        return f"is stored, and {_WITHOUT}"
    if stored is None:
        return "is missing: a replay gives it"
    ours, theirs = (json.loads(text, parse_float=Decimal) for text in (replayed, stored))
    columns = [name for name in ours if str(ours[name]) != str(theirs[name])]
    said = [f"{name} {theirs[name]} where a replay gives {ours[name]}" for name in columns]
    return "has " + ("; ".join(said) or "the same text in other bytes")


def replay_checks(tell: Tell = nothing_told) -> tuple[Check, ...]:
    """Return the checks of one replay, to be made in their order."""
    replay = Replay(tell)
    return (
        _check("replay-events", "events, amendments and refusals", "records", replay.check_events),
        _check(
            "replay-counters", "counters of every partition", "partitions", replay.check_counters
        ),
        _check("replay-charges", "charges", "charges", replay.check_charges),
        _check("replay-cuts", "cuts", "cut lines", replay.check_cuts),
    )


def _check(name: str, what: str, unit: str, run: Run) -> Check:
    sentence = f"a replay of the whole log gives the same {what}, byte for byte"
    return Check(name=name, sentence=sentence, unit=unit, run=run)
