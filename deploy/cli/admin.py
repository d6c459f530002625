"""`meterline admin`: what is done to an installation by hand; its other commands join here."""

import asyncio
import os
import sys
from datetime import timedelta
from getpass import getuser
from pathlib import Path
from pkgutil import resolve_name
from typing import Annotated, Final

import asyncpg
from cyclopts import App, Parameter

from deploy.local.find import find_stack
from gateway.auth.audit import Who
from gateway.auth.signing import OVERLAP, rotate

COMMANDS: Final = {
    "make": "deploy.cli.admin_people:make",
    "list": "deploy.cli.admin_people:list_admins",
    "disable": "deploy.cli.admin_people:disable",
    "password": "deploy.cli.admin_people:password",
    "block": "deploy.cli.admin_blocks:block",
    "unblock": "deploy.cli.admin_blocks:unblock",
    "blocks": "deploy.cli.admin_blocks:list_blocks",
    "mails": "deploy.cli.admin_mail:list_mails",
    "mail-again": "deploy.cli.admin_mail:mail_again",
    "audit": "deploy.cli.admin_audit:audit",
    "webhooks": "deploy.cli.admin_webhooks:webhooks",
}
"""Where each command is. One that is named is imported alone; for the list of them, all are."""

admin = App(name="admin", help="What is done to an installation by hand.", help_format="markdown")
is_named = any(word in COMMANDS for word in sys.argv)
for name, place in COMMANDS.items():
    admin.command(place if is_named else resolve_name(place), name=name)


@admin.command
def rotate_signing_key(
    *,
    state: Annotated[Path | None, Parameter(name="--state")] = None,
    at_once: Annotated[bool, Parameter(name="--at-once", negative="")] = False,
) -> None:
    """Make a new key to sign access tokens with.

    The gateways take it up by themselves, and do so every 30 days without being told. Tokens that
    earlier keys signed stay good until they expire.

    For example:

        meterline admin rotate-signing-key
        meterline admin rotate-signing-key --at-once

    Parameters
    ----------
    state
        Directory of a running stack.
    at_once
        A key has leaked: all tokens of earlier keys stop within seconds, everybody logs in again.
    """
    address = find_stack(state, os.environ)
    overlap = timedelta(0) if at_once else OVERLAP
    kid = asyncio.run(_rotate(address.postgres, overlap))
    sys.stdout.write(f"Access tokens are signed with the key {kid} from now on.\n")


async def _rotate(postgres: str, overlap: timedelta) -> str:
    connection = await asyncpg.connect(postgres)
    try:
        who = Who(f"command line {getuser()}")
        kid = await rotate(connection, older_than=timedelta(0), who=who, overlap=overlap)
    finally:
        await connection.close()
    assert kid is not None, "every key is older than nothing"
    return kid
