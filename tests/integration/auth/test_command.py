"""`meterline admin`: admins, blocks and the audit log from the command line."""

import json
import os
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import BytesIO, StringIO, TextIOWrapper
from typing import Any
from unittest.mock import patch

import asyncpg

from deploy.cli.main import main
from tests.integration.auth.conftest import Office, Site
from tests.integration.auth.test_admins import enter, may_enter
from tests.integration.auth.test_throttling import attempt, elsewhere
from tests.integration.auth.test_tokens import comes_to_be


@dataclass
class Done:
    """What a command has said, and how it ended."""

    stdout: str
    stderr: str
    code: int


def command(office: Office | Site, *words: str, stdin: str = "", fails: bool = False) -> Done:
    """Run `meterline admin`, in a thread of this process: a new one takes seconds to start."""
    env = {"METERLINE_KAFKA": "unused", "METERLINE_POSTGRES": office.postgres}
    out, said = TextIOWrapper(BytesIO(), write_through=True), StringIO()
    with (
        patch.dict(os.environ, env),
        patch.object(sys, "argv", ["meterline", "admin", *words]),
        patch.object(sys, "stdin", StringIO(stdin)),
        redirect_stdout(out),
        redirect_stderr(said),
        ThreadPoolExecutor(1) as thread,
    ):
        code = thread.submit(_main).result(60)
    assert isinstance(out.buffer, BytesIO)
    done = Done(out.buffer.getvalue().decode(), said.getvalue(), code)
    assert (code != 0) is fails, done
    return done


def _main() -> int:
    try:
        main()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


async def test_an_admin_is_made_listed_given_a_password_and_disabled(office: Office) -> None:
    (row,) = await office.fetch(
        "SELECT tenant_ref FROM tenant WHERE tenant_id = $1", office.tenant_id
    )
    mine = ("--tenant", str(row["tenant_ref"]))
    email = f"person-{uuid.uuid4()}@example.com"
    scopes = ("--scope", "billing:read", "--scope", "admin")
    (made,) = lines(command(office, "make", email, *scopes, *mine, "--json").stdout)
    assert made["scopes"] == ["billing:read", "admin"]
    session = enter(office, email, made["password"])
    listed = lines(command(office, "list", *mine, "--json").stdout)
    assert [(admin["email"], admin["sessions"]) for admin in listed] == [
        (office.email, 0),
        (email, 1),
    ]
    chosen = "a password of one's own"
    command(office, "password", email, "--password-stdin", *mine, stdin=chosen + "\n")
    assert office.names(session=session) == 401
    assert may_enter(office, email, chosen)
    assert "may log in no more" in command(office, "disable", email, *mine).stdout
    assert not may_enter(office, email, chosen)
    short = command(
        office, "password", office.email, "--password-stdin", *mine, stdin="short", fails=True
    )
    assert short.stderr.startswith("meterline: must have at least 15 characters")
    refused = command(office, "disable", office.email, *mine, fails=True)
    assert "make another one first" in refused.stderr


def test_where_there_are_several_tenants_one_has_to_be_named(site: Site, office: Office) -> None:
    del office  # there are two at least
    refused = command(site, "list", "--tenant", str(uuid.uuid4()), fails=True)
    assert "say which tenant with --tenant: " in refused.stderr


def test_an_address_is_blocked_for_everybody(office: Office) -> None:
    said = command(office, "block", "--address", office.address, "--note", "by hand").stdout
    ref = said.split()[0]

    def status() -> int:
        return attempt(office, office.api_key, office.password).status_code

    assert comes_to_be(lambda: status() == 403, probes=6)
    other = elsewhere(office)
    assert comes_to_be(lambda: attempt(other, office.api_key, office.password).ok, probes=1)
    (shown,) = [
        row for row in lines(command(office, "blocks", "--json").stdout) if row["block_ref"] == ref
    ]
    assert (shown["address"], shown["note"]) == (f"{office.address}/32", "by hand")
    assert shown["made_by"].startswith("command line ")
    command(office, "unblock", ref)
    assert comes_to_be(lambda: status() == 200)
    assert "no block" in command(office, "unblock", ref, fails=True).stderr


def test_a_block_that_cannot_be_is_refused(office: Office) -> None:
    assert "either" in command(office, "block", fails=True).stderr
    assert "such as" in command(office, "block", "--address", "x", fails=True).stderr


async def test_the_audit_log_is_read_and_proved(office: Office, database: str) -> None:
    office.log_in()
    actor = f"key {office.api_key_ref}"
    done = command(office, "audit", "--actor", actor, "--from", "2020-01-01", "--json")
    (entry,) = lines(done.stdout)
    assert (entry["action"], entry["address"]) == ("token.issued", office.address)
    assert done.stderr.startswith("The log is whole: ")
    assert "token.issued" in command(office, "audit", "--actor", actor).stdout
    broken = Site(url="", postgres=database, services=[])
    connection = await asyncpg.connect(database)
    try:
        command(broken, "rotate-signing-key")
        command(broken, "rotate-signing-key")
        await connection.execute("ALTER TABLE audit_entry DISABLE TRIGGER USER")
        await connection.execute("UPDATE audit_entry SET entry = '{}' WHERE number = 1")
    finally:
        await connection.close()
    told = command(broken, "audit", "--json", fails=True).stderr
    assert "entry 1 of tenant 0 is not what it was when it was written" in told
