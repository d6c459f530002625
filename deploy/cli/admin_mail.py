"""`meterline admin mails|mail-again`: documents that their customers have not been mailed yet."""

import sys
from typing import Annotated, Any, Final

import asyncpg
from cyclopts import Parameter

from deploy.cli.admin_work import AsJson, State, TenantRef, find_tenant, queries, run, show
from deploy.local.errors import StackError

MAILS_MAX: Final = 1_000
_COLUMNS: Final = ("document_number", "email", "state", "attempts", "due_at", "last_error")


async def _place(connection: asyncpg.Connection, tenant: str | None) -> int | None:
    return None if tenant is None else await find_tenant(connection, tenant)


def list_mails(*, tenant: TenantRef = None, state: State = None, as_json: AsJson = False) -> None:
    """List the documents that wait for their mail, with what went wrong.

    WAITING: not tried yet. POSTPONED: it failed, and is tried again at due_at. REFUSED: for good,
    or too often; it waits for `meterline admin mail-again`.

    For example:

        meterline admin mails
        meterline admin mails --json
    """

    async def work(connection: asyncpg.Connection) -> list[dict[str, Any]]:
        place = await _place(connection, tenant)
        return [dict(row) for row in await connection.fetch(queries.list_mails, place, MAILS_MAX)]

    show(run(state, work, reads_only=True), _COLUMNS, as_json=as_json)


def mail_again(
    document_number: Annotated[str | None, Parameter()] = None,
    /,
    *,
    everything: Annotated[bool, Parameter(name="--all", negative="")] = False,
    tenant: TenantRef = None,
    state: State = None,
) -> None:
    """Mail a document that waits, at once; the customer's address may have been mended since.

    For example:

        meterline admin mail-again ATLAS-2026-002
        meterline admin mail-again --all

    Parameters
    ----------
    document_number
        The document, as `meterline admin mails` shows it.
    everything
        All that wait.
    """
    if everything == (document_number is not None):
        raise StackError("say which document, or --all")

    async def work(connection: asyncpg.Connection) -> int:
        place = await _place(connection, tenant)
        done = await connection.execute(queries.mail_again, place, document_number)
        return int(done.rpartition(" ")[2])

    if not (count := run(state, work)):
        raise StackError("no such document waits to be mailed")
    sys.stdout.write(f"{count} to be mailed now.\n")
