"""Admins: the people who look after a tenant. Made, listed, ended, and given new passwords.

What is done here is done in the caller's transaction and written into the audit log as its last
statement. Nobody gives, takes or gets at more than they may do themselves.
"""

from collections.abc import Collection
from typing import Final
from uuid import UUID, uuid4

import asyncpg
import msgspec

from gateway.auth import audit
from gateway.auth.audit import Who
from gateway.auth.claims import SCOPES
from gateway.auth.sql import queries
from gateway.manage import values
from runtime.passwords import PASSWORD_BYTES_MAX
from runtime.postgres import Connection
from schemas.errors import Conflict, InvalidInput, NotAllowed, NotFound

PASSWORD_LENGTH_MIN: Final = 15
"""Of a password that is chosen: it is all that stands before a session (NIST SP 800-63B)."""

ADMINS_MAX: Final = 1_000
"""The most that a tenant has at once."""

EVERY_SCOPE: Final = frozenset(SCOPES)


class Admin(msgspec.Struct, frozen=True):
    """An admin who may log in."""

    admin_ref: UUID
    email: str
    password_hash: str
    scopes: frozenset[str]


def read_email(value: object) -> str:
    """Read one e-mail address."""
    address = values.emails(value)
    if "," in address or not address.isprintable():
        raise InvalidInput("email_malformed", "must be one e-mail address")
    return address


def read_new_password(value: object) -> str:
    """Read a password that is chosen: long, and whatever else its owner likes."""
    text = values.text(value)
    if len(text) < PASSWORD_LENGTH_MIN:
        detail = f"must have at least {PASSWORD_LENGTH_MIN} characters; left out, one is made up"
        raise InvalidInput("password_too_short", detail)
    if len(text.encode("utf-8", "replace")) > PASSWORD_BYTES_MAX:
        raise InvalidInput("text_too_long", f"must have at most {PASSWORD_BYTES_MAX} bytes")
    return text


async def add_admin(
    connection: Connection,
    tenant_id: int,
    who: Who,
    *,
    email: str,
    password_hash: str,
    scopes: Collection[str],
) -> UUID:
    """Make an admin and return their ref. Raises Conflict when the address is taken."""
    if len(await hold_admins(connection, tenant_id)) >= ADMINS_MAX:
        detail = f"there are {ADMINS_MAX} admins: end one first"
        raise Conflict("admins_too_many", detail)
    admin_ref = uuid4()
    try:
        async with connection.transaction():
            row = (admin_ref, email, password_hash, list(scopes))
            await connection.execute(queries.add_admin, tenant_id, *row)
    except asyncpg.UniqueViolationError:
        detail = f"{email} logs an admin in already: take another address"
        raise Conflict("email_taken", detail) from None
    made = {"email": email, "scopes": list(scopes)}
    await audit.record(connection, tenant_id, who, "admin.made", admin_ref, after=made)
    return admin_ref


async def hold_admins(connection: Connection, tenant_id: int) -> list[Admin]:
    """Return a tenant's admins; nobody else changes one before the transaction's end."""
    rows = await connection.fetch(queries.hold_admins, tenant_id)
    return [
        Admin(row["admin_ref"], row["email"], row["password_hash"], frozenset(row["scopes"]))
        for row in rows
    ]


async def end_admin(
    connection: Connection,
    tenant_id: int,
    who: Who,
    named: str,
    *,
    may: frozenset[str] = EVERY_SCOPE,
) -> Admin:
    """End an admin, named by ref or e-mail, and their sessions.

    may: what the caller may do. Raises NotFound, NotAllowed, and Conflict when nobody would be
    left to look after the admins.
    """
    admins = await hold_admins(connection, tenant_id)
    found = find_admin(admins, named)
    require_no_less(found, may)
    others = [admin for admin in admins if admin is not found]
    if not any("admin" in admin.scopes for admin in others):
        raise Conflict("last_admin", "nobody else may look after admins: make another one first")
    await connection.execute(queries.end_admin, tenant_id, found.admin_ref)
    await connection.execute(queries.end_sessions_of, tenant_id, found.admin_ref)
    former = {"email": found.email, "scopes": sorted(found.scopes)}
    await audit.record(connection, tenant_id, who, "admin.ended", found.admin_ref, before=former)
    return found


async def change_password(
    connection: Connection, tenant_id: int, who: Who, admin: Admin, password_hash: str
) -> None:
    """Give an admin another password; all their sessions end."""
    await connection.execute(queries.set_admin_password, tenant_id, admin.admin_ref, password_hash)
    await connection.execute(queries.end_sessions_of, tenant_id, admin.admin_ref)
    await audit.record(
        connection, tenant_id, who, "admin.password_changed", admin.admin_ref,
        after={"email": admin.email},
    )  # fmt: skip


def find_admin(admins: Collection[Admin], named: str) -> Admin:
    """Return the admin whom a ref or an e-mail address names. Raises NotFound."""
    wanted = named.strip().lower()
    for admin in admins:
        if wanted in (str(admin.admin_ref), admin.email.lower()):
            return admin
    raise NotFound("admin_unknown", f"there is no admin {named[:64]!r}")


def require_no_less(admin: Admin, may: frozenset[str]) -> None:
    """Raise NotAllowed when an admin may do more than who would change them."""
    if not may >= admin.scopes:
        raise NotAllowed("scope_missing", "this admin may do more than you")
