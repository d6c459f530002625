"""The keys that sign tokens: followed by new ones, and ended everywhere when one has leaked."""

import os
import subprocess
import sys

import jwt

from tests.integration.auth.conftest import Office, Site
from tests.integration.auth.test_tokens import comes_to_be


def rotate(site: Site, *options: str) -> str:
    """Rotate as a person does; the new key's id."""
    done = subprocess.run(
        [sys.executable, "-m", "deploy.cli", "admin", "rotate-signing-key", *options],
        env={**os.environ, "METERLINE_KAFKA": "unused", "METERLINE_POSTGRES": site.postgres},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split("the key ")[1].split()[0]


def kid_of(token: str) -> str:
    return str(jwt.get_unverified_header(token)["kid"])


def test_after_a_rotation_new_tokens_have_the_new_key_and_earlier_ones_stay_good(
    site: Site, office: Office
) -> None:
    before = office.log_in()
    kid = rotate(site)
    assert kid_of(before) != kid
    assert comes_to_be(lambda: kid_of(office.log_in()) == kid)
    after = office.log_in()
    assert all(office.names(token=token) == 200 for token in (before, after) * 6)


def test_a_key_retired_at_once_stops_soon_on_every_process(site: Site, office: Office) -> None:
    before = office.log_in()
    assert all(office.names(token=before) == 200 for _ in range(12))
    kid = rotate(site, "--at-once")
    assert comes_to_be(lambda: office.names(token=before) == 401)
    after = office.log_in()
    assert kid_of(after) == kid
    assert all(office.names(token=after) == 200 for _ in range(12))


async def test_a_rotation_is_in_the_audit_log_of_the_installation(
    site: Site, office: Office
) -> None:
    kid = rotate(site)
    rows = await office.fetch(
        "SELECT entry::jsonb ->> 'subject' AS kid FROM audit_entry "
        "WHERE tenant_id = 0 AND entry::jsonb ->> 'actor' LIKE 'command %'"
    )
    assert kid in [row["kid"] for row in rows]
