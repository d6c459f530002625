"""`meterline admin make|list|disable|password`: the people who look after a tenant."""

import sys
from collections.abc import Sequence
from typing import Annotated, Any, Final

import asyncpg
import msgspec
from cyclopts import Parameter

from deploy.cli.admin_work import AsJson, State, TenantRef, find_tenant, run, show, who
from gateway.auth.admins import (
    add_admin,
    change_password,
    end_admin,
    find_admin,
    hold_admins,
    read_email,
    read_new_password,
)
from gateway.auth.claims import SCOPES
from gateway.auth.sql import queries
from runtime.passwords import generate_password, hash_password
from schemas.errors import InvalidInput

_COLUMNS: Final = ("email", "admin_ref", "scopes", "created_at", "sessions")

FromStdin = Annotated[
    bool,
    Parameter(
        name="--password-stdin",
        negative="",
        help="Take the password from standard input; else one is made up and shown.",
    ),
]


def make(
    email: str,
    *,
    scope: Annotated[list[str] | None, Parameter(name="--scope")] = None,
    password_stdin: FromStdin = False,
    tenant: TenantRef = None,
    state: State = None,
    as_json: AsJson = False,
) -> None:
    """Make an admin.

    For example:

        meterline admin make cfo@northwind.example --scope billing:read --scope usage:read

    Parameters
    ----------
    email
        Logs the admin in; an admin's alone in the whole installation.
    scope
        What they may do, each one by itself; left out: everything.
    """
    scopes = _scopes(scope)
    address, password = read_email(email), _password(from_stdin=password_stdin)
    hashed = hash_password(password)

    async def work(connection: asyncpg.Connection) -> dict[str, Any]:
        tenant_id = await find_tenant(connection, tenant)
        made = await add_admin(
            connection, tenant_id, who(), email=address, password_hash=hashed, scopes=scopes
        )
        return {"admin_ref": made, "email": address, "scopes": scopes}

    made = run(state, work)
    _tell(made, None if password_stdin else password, as_json=as_json)


def list_admins(*, tenant: TenantRef = None, state: State = None, as_json: AsJson = False) -> None:
    """List the admins who may log in.

    For example:

        meterline admin list --json | jq -r .email
    """

    async def work(connection: asyncpg.Connection) -> list[dict[str, Any]]:
        tenant_id = await find_tenant(connection, tenant)
        return [dict(row) for row in await connection.fetch(queries.list_admins, tenant_id)]

    show(run(state, work, reads_only=True), _COLUMNS, as_json=as_json)


def disable(named: str, *, tenant: TenantRef = None, state: State = None) -> None:
    """End an admin: they log in no more, and their sessions end at once.

    For example:

        meterline admin disable cfo@northwind.example

    Parameters
    ----------
    named
        An e-mail address or a ref.
    """

    async def work(connection: asyncpg.Connection) -> str:
        tenant_id = await find_tenant(connection, tenant)
        return (await end_admin(connection, tenant_id, who(), named)).email

    sys.stdout.write(f"{run(state, work)} may log in no more.\n")


def password(
    named: str,
    *,
    password_stdin: FromStdin = False,
    tenant: TenantRef = None,
    state: State = None,
    as_json: AsJson = False,
) -> None:
    """Give an admin another password; all their sessions end.

    For example:

        meterline admin password admin@example.com
        pass billing | meterline admin password admin@example.com --password-stdin

    Parameters
    ----------
    named
        An e-mail address or a ref.
    """
    chosen = _password(from_stdin=password_stdin)
    hashed = hash_password(chosen)

    async def work(connection: asyncpg.Connection) -> dict[str, Any]:
        tenant_id = await find_tenant(connection, tenant)
        found = find_admin(await hold_admins(connection, tenant_id), named)
        await change_password(connection, tenant_id, who(), found, hashed)
        return {"admin_ref": found.admin_ref, "email": found.email}

    changed = run(state, work)
    _tell(changed, None if password_stdin else chosen, as_json=as_json)


def _password(*, from_stdin: bool) -> str:
    """Read a password, or make one up. Raises InvalidInput."""
    if not from_stdin:
        return generate_password()
    return read_new_password(sys.stdin.readline().rstrip("\r\n"))


def _scopes(named: Sequence[str] | None) -> list[str]:
    unknown = [scope for scope in named or () if scope not in SCOPES]
    if unknown:
        detail = f"there is no scope {unknown[0]!r}: use {', '.join(SCOPES)}"
        raise InvalidInput("choice_unknown", detail)
    return list(dict.fromkeys(named or SCOPES))


def _tell(admin: dict[str, Any], password: str | None, *, as_json: bool) -> None:
    """Tell of an admin, and of a password that was made up."""
    if as_json:
        line = msgspec.json.encode(admin | {"password": password})
        sys.stdout.write(line.decode() + "\n")
        return
    sys.stdout.write(f"admin     {admin['email']}\n")
    if password is not None:
        sys.stdout.write(f"password  {password}\nShown this once: keep it.\n")
