"""`meterline admin audit`: who did what, and whether the log of it is whole."""

import sys
from typing import Annotated, Any, Final

import asyncpg
import msgspec
from cyclopts import Parameter

from deploy.cli.admin_work import AsJson, State, find_tenant, queries, run, show
from deploy.verify.audit import check_chains
from deploy.verify.check import Finding, Scope
from gateway.auth.audit_routes import PAGE_DEFAULT, read_end
from gateway.manage import values

_EXIT_BROKEN: Final = 1
_COLUMNS: Final = ("at", "actor", "action", "subject", "address", "tenant_ref", "number")


def audit(
    *,
    start: Annotated[str | None, Parameter(name="--from")] = None,
    end: Annotated[str | None, Parameter(name="--to")] = None,
    actor: str | None = None,
    limit: int = PAGE_DEFAULT,
    tenant: str | None = None,
    state: State = None,
    as_json: AsJson = False,
) -> None:
    """Read the audit log, the newest first, and prove all of it whole.

    Every entry is hashed again with the one before it. The exit code is 1 when one was changed,
    taken out or put in between.

    For example:

        meterline admin audit --from 2026-11-01 --actor "command line root"
        meterline admin audit --limit 100000 --json > audit.ndjson

    Parameters
    ----------
    start
        A day of UTC or a time with an offset.
    end
        The last day, or the time before which.
    actor
        `key <ref>`, `admin <ref>` or `command line <user>`.
    limit
        The most entries shown.
    tenant
        Ref of a tenant; left out: all, and the installation's own entries, which name none.
    """
    bounds = (start and values.instant(start), end and read_end(end))

    async def work(connection: asyncpg.Connection) -> tuple[list[dict[str, Any]], Finding]:
        place = None if tenant is None else await find_tenant(connection, tenant)
        rows = await connection.fetch(queries.list_audit_entries, place, *bounds, actor, limit)
        finding = Finding("entries")
        scope = Scope(connection=connection, tenant_id=place, kafka="")
        await check_chains(scope, finding)
        return [_shown(row) for row in rows], finding

    rows, finding = run(state, work, reads_only=True)
    show(rows, _COLUMNS, as_json=as_json)
    _tell(finding)


def _shown(row: asyncpg.Record) -> dict[str, Any]:
    entry = msgspec.json.decode(row["entry"], type=dict[str, Any])
    place = {"tenant_ref": row["tenant_ref"], "number": row["number"]}
    return place | entry | {"hash": row["hash"].hex()}


def _tell(finding: Finding) -> None:
    """Say whether the log is whole; not among the rows, which may go on to another program."""
    if not finding.difference:
        sys.stderr.write(f"The log is whole: {finding.counted} entries, each chained.\n")
        return
    for problem in finding.witnesses:
        sys.stderr.write(f"meterline: {problem}\n")
    sys.stderr.write(f"meterline: the log is not whole: {finding.difference} breaks\n")
    sys.exit(_EXIT_BROKEN)
