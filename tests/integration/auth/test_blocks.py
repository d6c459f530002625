"""Blocks: addresses and accounts that may not log in, on every process."""

from dataclasses import replace
from typing import Any

import pytest
import requests

from tests.integration.auth.conftest import Office, Site, make_office
from tests.integration.auth.test_throttling import attempt, elsewhere
from tests.integration.auth.test_tokens import comes_to_be


def block(office: Office, **fields: object) -> str:
    """Have the admin block something; the block's ref."""
    answer = office.send("POST", "/auth/blocks", fields, session=office.admin())
    assert answer.ok, answer.text
    ref: str = answer.json()["block_ref"]
    return ref


def lets_in(office: Office) -> bool:
    return attempt(office, office.api_key, office.password).status_code == 200


def listed(office: Office) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (
        elsewhere(office).send("GET", "/auth/blocks", session=elsewhere(office).admin()).json()
    )
    return found


@pytest.mark.parametrize("ends_by", ["call", "time"])
async def test_a_blocked_address_logs_in_no_more_until_the_block_ends(
    office: Office, ends_by: str
) -> None:
    token = office.log_in()
    spare = office.send("POST", "/auth/keys/generate", {}, token=token).json()
    ref = block(office, address=office.address, note="tries passwords")
    assert comes_to_be(lambda: not lets_in(office), probes=6)
    refused = attempt(office, office.api_key, office.password)
    assert (refused.status_code, refused.json()["title"]) in [
        (401, "Unauthorized"),
        (429, "Too Many Requests"),
    ]
    assert comes_to_be(lambda: lets_in(elsewhere(office)), probes=1)
    assert office.names(token=token) == 200, "who is logged in stays so"
    (shown,) = listed(office)
    assert (shown["block_ref"], shown["address"]) == (ref, f"{office.address}/32")
    assert (shown["note"], shown["expires_at"]) == ("tries passwords", None)
    assert shown["made_by"].startswith("admin ")
    if ends_by == "call":
        path = f"/auth/blocks/{ref}"
        assert elsewhere(office).send("DELETE", path, session=elsewhere(office).admin()).ok
    else:
        await office.fetch(
            "UPDATE login_block SET expires_at = now() WHERE tenant_id = $1", office.tenant_id
        )
    assert listed(office) == []
    good = (spare["api_key"], spare["password"])
    assert comes_to_be(lambda: attempt(office, *good).status_code == 200, probes=1)


def test_a_network_is_blocked_whole(office: Office) -> None:
    network = office.address.rpartition(".")[0] + ".0/24"
    block(office, address=network)
    assert comes_to_be(lambda: not lets_in(office), probes=6)


@pytest.mark.parametrize("is_admin", [False, True])
def test_a_blocked_account_is_out_at_once_wherever_it_is(office: Office, is_admin: bool) -> None:
    other = elsewhere(office)
    who: dict[str, Any] = {"session": other.admin()} if is_admin else {"token": other.log_in()}
    caller = office.log_in() if is_admin else office.admin()
    name = office.email if is_admin else office.api_key
    sender: dict[str, Any] = {"token": caller} if is_admin else {"session": caller}
    answer = office.send("POST", "/auth/blocks", {"account": name.upper()}, **sender)
    assert answer.ok, answer.text
    assert comes_to_be(lambda: other.names(**who) == 401)

    def is_refused() -> bool:
        by = "email" if is_admin else "api_key"
        return attempt(other, name, office.password, by).status_code in (401, 429)

    assert comes_to_be(is_refused, probes=6)
    ref = answer.json()["block_ref"]
    assert office.send("DELETE", f"/auth/blocks/{ref}", **sender).ok


def test_a_block_says_when_it_ends(office: Office) -> None:
    block(office, address=office.address, expires_at="2099-01-01T00:00:00Z")
    assert listed(office)[0]["expires_at"] == "2099-01-01T00:00:00Z"


async def test_a_tenant_blocks_for_itself_alone(site: Site, office: Office) -> None:
    stranger = replace(await make_office(site), address=office.address)
    ref = block(office, address=office.address)
    assert comes_to_be(lambda: not lets_in(office), probes=6)
    assert comes_to_be(lambda: lets_in(stranger), probes=1)
    session = stranger.admin()
    assert stranger.send("GET", "/auth/blocks", session=session).json() == []
    for verb, path, body in (
        ("DELETE", f"/auth/blocks/{ref}", None),
        ("POST", "/auth/blocks", {"account": office.api_key}),
        ("POST", "/auth/blocks", {"account": "nobody"}),
    ):
        assert stranger.send(verb, path, body, session=session).status_code == 404, path


@pytest.mark.parametrize(
    ("body", "pointer", "code"),
    [
        ({}, "/address", "required"),
        ({"address": "203.0.113.9", "account": "key"}, "/address", "required"),
        ({"address": "203.0.113.9/24"}, "/address", "address_malformed"),
        ({"address": "example.com"}, "/address", "address_malformed"),
        (
            {"address": "203.0.113.9", "expires_at": "2001-01-01T00:00:00Z"},
            "/expires_at",
            "time_past",
        ),
        ({"adress": "203.0.113.9", "account": "key"}, "/adress", "unknown_field"),
    ],
)
def test_a_block_that_cannot_be_is_refused(
    office: Office, body: dict[str, str], pointer: str, code: str
) -> None:
    answer: requests.Response = office.send("POST", "/auth/blocks", body, session=office.admin())
    assert answer.status_code == 422
    assert {p["pointer"]: p["code"] for p in answer.json()["errors"]} == {pointer: code}
