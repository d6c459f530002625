"""Running every check on one snapshot, and what came out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg

from deploy.local.bootstrap import MIGRATIONS
from deploy.local.find import StackAddress
from deploy.verify import (
    ahead,
    alerts,
    audit,
    credits,
    digests,
    documents,
    event_documents,
    journal,
    log,
    partitions,
    payments,
    prices,
    rollups,
    rows,
    single_events,
    totals,
    versions,
)
from deploy.verify.archive import check_archive_seen, see_archive
from deploy.verify.check import CannotCheck, Check, Finding, Result, Scope, Status
from deploy.verify.partitions import Conservation, load_conservation
from deploy.verify.replay.checks import make_shadow
from runtime.migrations import pending
from runtime.postgres import Queries
from schemas.errors import BillingError

CHECKS: Final[tuple[Check, ...]] = (
    *partitions.CHECKS,
    *log.CHECKS,
    *totals.CHECKS,
    *rollups.CHECKS,
    *alerts.CHECKS,
    *digests.CHECKS,
    *versions.CHECKS,
    *prices.CHECKS,
    *single_events.CHECKS,
    *documents.CHECKS,
    *event_documents.CHECKS,
    *ahead.CHECKS,
    *credits.CHECKS,
    *payments.CHECKS,
    *journal.CHECKS,
    *rows.CHECKS,
    *audit.CHECKS,
)
"""Every invariant, in the order in which an event meets it."""

queries: Final = Queries.beside(__file__, "counted.sql")

_CONNECT_SECONDS_MAX: Final = 10.0

# Joins are large against large by several columns. Hashes alone use all of them, whatever the
# planner believes: looking rows up one by one, or merging by the customer, would not end. What
# row-level security hides is an error, so that a weak role can't prove an empty book right.
_SETTINGS: Final = """
SET LOCAL enable_nestloop = off;
SET LOCAL enable_mergejoin = off;
SET LOCAL jit = off;
SET LOCAL work_mem = '64MB';
SET LOCAL row_security = off;
SET LOCAL timezone = 'UTC';
"""


@dataclass(frozen=True, kw_only=True)
class Report:
    """The outcome of all checks."""

    results: tuple[Result, ...]
    conservation: Conservation

    @property
    def status(self) -> Status:
        """The worst of all: broken, then not checked, then good."""
        found = {result.status for result in self.results}
        for status in (Status.FAIL, Status.UNCHECKED):
            if status in found:
                return status
        return Status.OK

    @property
    def is_good(self) -> bool:
        """Tell whether every invariant was checked and holds."""
        return self.status is Status.OK

    @property
    def exit_code(self) -> int:
        """0 when all is right, 1 when something is broken, 2 when something was not checked."""
        return {Status.OK: 0, Status.FAIL: 1, Status.UNCHECKED: 2}[self.status]

    @property
    def failed(self) -> frozenset[str]:
        """The names of the checks that do not hold."""
        return frozenset(r.check.name for r in self.results if r.status is Status.FAIL)


async def run_checks(
    address: StackAddress,
    *,
    tenant_ref: str | None = None,
    archive: Path | None = None,
    replay: Sequence[Check] = (),
) -> Report:
    """Check every invariant, reading one snapshot of the database and changing nothing.

    tenant_ref: look at one tenant's rows; what tenants share (partitions, the log) is looked at
    whole. archive: where the files of archived months are. replay: the checks of a full replay,
    where there is to be one; its shadow is gone with the session. Raises CannotCheck when nothing
    can be checked at all.
    """
    connection = await _connect(address.postgres)
    try:
        await _refuse_unmigrated(connection)
        if archive is not None:
            await see_archive(connection, archive)
        await see_counted(connection)
        if replay:
            await make_shadow(connection)
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            checks = (*CHECKS, *replay)
            return await check_transaction(
                connection, address.kafka, tenant_ref=tenant_ref, checks=checks
            )
    finally:
        await connection.close()


async def check_transaction(
    connection: asyncpg.Connection,
    kafka: str,
    *,
    tenant_ref: str | None = None,
    checks: Sequence[Check] = CHECKS,
) -> Report:
    """Check invariants on what a transaction sees; `run_checks` says the rest.

    The session has `see_counted`.
    """
    await connection.execute(_SETTINGS)
    tenant_id = await _find_tenant(connection, tenant_ref)
    await check_archive_seen(connection)
    scope = Scope(connection=connection, tenant_id=tenant_id, kafka=kafka)
    results = [await _run(check, scope) for check in checks]
    return Report(results=tuple(results), conservation=await load_conservation(scope))


async def _connect(dsn: str) -> asyncpg.Connection:
    try:
        return await asyncpg.connect(
            dsn,
            timeout=_CONNECT_SECONDS_MAX,
            server_settings={"application_name": "meterline-verify"},
        )
    except (OSError, TimeoutError, asyncpg.PostgresError) as error:
        reason = str(error) or type(error).__name__
        raise CannotCheck(f"the database can't be read: {reason}") from error


async def see_counted(connection: asyncpg.Connection) -> None:
    """Give a session the views that several checks fold; they come after what they are to see."""
    for view in (queries.see_counted, queries.see_fed, queries.see_computed):
        await connection.execute(view)


async def _refuse_unmigrated(connection: asyncpg.Connection) -> None:
    if missing := await pending(connection, MIGRATIONS):
        raise CannotCheck(f"the database lacks {missing[0]}: run `meterline migrate`")


async def _find_tenant(connection: asyncpg.Connection, tenant_ref: str | None) -> int | None:
    if tenant_ref is None:
        return None
    for row in await connection.fetch(rows.queries.tenants):
        if row["tenant_ref"] == tenant_ref.lower():
            return int(row["tenant_id"])
    raise CannotCheck(f"there is no tenant {tenant_ref}")


async def _run(check: Check, scope: Scope) -> Result:
    """Make one check; what keeps it from being made is its result, and the others go on."""
    finding = Finding(check.unit)
    try:
        async with scope.connection.transaction():
            await check.run(scope, finding)
    except (CannotCheck, BillingError, asyncpg.PostgresError) as error:
        return Result(check=check, finding=finding, reason=str(error))
    return Result(check=check, finding=finding)


def as_json(report: Report) -> dict[str, object]:
    """Return the report as plain data: the same books give the same, byte for byte."""
    count = report.conservation
    return {
        "status": report.status,
        "conservation": {
            "accepted": count.total,
            **{name.replace(" ", "_"): value for name, value in count.outcomes.items()},
            "difference": count.difference,
        },
        "checks": [
            {
                "name": result.check.name,
                "sentence": result.check.sentence,
                "status": result.status,
                "counted": result.finding.counted,
                "unit": result.finding.unit,
                "difference": result.finding.difference,
                "witnesses": result.finding.witnesses,
                "notes": result.finding.notes,
                "reason": result.reason or None,
            }
            for result in report.results
        ],
    }
