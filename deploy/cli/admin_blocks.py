"""`meterline admin block|unblock|blocks`: addresses and accounts that may not log in."""

import sys
from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID

import asyncpg
from cyclopts import Parameter

from deploy.cli.admin_work import AsJson, State, find_tenant, run, show, who
from gateway.auth.audit import INSTALLATION
from gateway.auth.blocks import Block, add_block, end_block, read_account, read_network
from gateway.auth.keys import read_instant
from gateway.auth.sql import queries
from schemas.errors import InvalidInput

_COLUMNS: Final = (
    "block_ref", "address", "account", "made_by", "created_at", "expires_at", "note",
)  # fmt: skip

ForTenant = Annotated[
    str | None,
    Parameter(name="--tenant", help="Ref of the tenant it is about; else it is about all."),
]


async def _place(connection: asyncpg.Connection, tenant: str | None) -> int:
    return INSTALLATION if tenant is None else await find_tenant(connection, tenant)


def block(
    *,
    address: str | None = None,
    account: str | None = None,
    note: str | None = None,
    until: str | None = None,
    tenant: ForTenant = None,
    state: State = None,
) -> None:
    """Keep an address, a network or an account from logging in, within seconds everywhere.

    A blocked account's sessions and tokens end; who is logged in from a blocked address stays so.

    For example:

        meterline admin block --address 203.0.113.0/24 --note "tries passwords"
        meterline admin block --account key-1 --until 2027-01-01T00:00:00Z

    Parameters
    ----------
    address
        An address or a network.
    account
        The name of an API key, or the e-mail address of an admin.
    note
        Why.
    until
        When it ends, a time with an offset; left out: when it is ended.
    """
    if (address is None) == (account is None):
        raise InvalidInput("required", "say either --address or --account")
    wanted = Block(
        address=None if address is None else read_network(address),
        account=None if account is None else read_account(account),
        note=note,
        expires_at=_until(until),
    )

    async def work(connection: asyncpg.Connection) -> UUID:
        return await add_block(connection, await _place(connection, tenant), who(), wanted)

    sys.stdout.write(f"{run(state, work)} blocks {wanted.address or wanted.account}\n")


def _until(text: str | None) -> datetime | None:
    return None if text is None else read_instant(text)


def unblock(block_ref: UUID, *, tenant: ForTenant = None, state: State = None) -> None:
    """End a block.

    Parameters
    ----------
    block_ref
        What `meterline admin blocks` shows first.
    """

    async def work(connection: asyncpg.Connection) -> None:
        await end_block(connection, await _place(connection, tenant), who(), block_ref)

    run(state, work)
    sys.stdout.write(f"{block_ref} blocks no more.\n")


def list_blocks(*, tenant: ForTenant = None, state: State = None, as_json: AsJson = False) -> None:
    """List the blocks in force."""

    async def work(connection: asyncpg.Connection) -> list[dict[str, Any]]:
        place = await _place(connection, tenant)
        return [dict(row) for row in await connection.fetch(queries.list_blocks, place)]

    show(run(state, work, reads_only=True), _COLUMNS, as_json=as_json)
