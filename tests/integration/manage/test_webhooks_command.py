"""`meterline admin webhooks` on endpoints of tenants, as a shell calls it."""

import json
from typing import Any

from tests.integration.manage.clients import Client
from tests.integration.manage.test_contracts_command import run

NOWHERE = "00000000-0000-4000-8000-00000000dead"


def add(client: Client) -> str:
    body = {"url": "https://hooks.example/in", "events": ["invoice.paid"]}
    ref: str = client.ok("POST", "/api/webhooks", body)["webhook_ref"]
    return ref


def said(client: Client, *arguments: str) -> str:
    done = run(client, "admin", "webhooks", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def shown(client: Client, *arguments: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in said(client, *arguments, "--json").splitlines()]


async def tenant_ref(client: Client) -> str:
    statement = "SELECT tenant_ref FROM tenant WHERE tenant_id = $1"
    ((ref,),) = await client.fetch(statement, client.tenant_id)
    return str(ref)


async def give_up(client: Client, ref: str) -> None:
    """Let all deliveries of an endpoint have failed for three days, and turn it off."""
    await client.fetch(
        "UPDATE webhook_delivery SET state = 'DEAD', attempts = 20, last_status = 500 "
        "WHERE endpoint_ref = $1",
        ref,
    )
    await client.fetch(
        "UPDATE webhook_endpoint SET is_enabled = false, disabled_reason = 'took nothing' "
        "WHERE endpoint_ref = $1",
        ref,
    )


async def test_a_test_event_is_written_and_listed_for_one_tenant_alone(
    client: Client, stranger: Client
) -> None:
    ref, other = add(client), add(stranger)
    assert said(client, "test", ref).startswith("Delivery ")
    mine = ("--tenant", await tenant_ref(client))
    [endpoint] = shown(client, "list", *mine)
    assert (endpoint["endpoint_ref"], endpoint["pending"], endpoint["dead"]) == (ref, 1, 0)
    assert "secret" not in endpoint
    [delivery] = shown(client, "deliveries", ref, *mine)
    assert (delivery["type"], delivery["state"]) == ("webhook.test", "PENDING")
    assert shown(client, "deliveries", "--failed", *mine) == []
    assert shown(client, "deliveries", other, *mine) == []
    assert {one["endpoint_ref"] for one in shown(client, "list")} >= {ref, other}
    assert "https://hooks.example/in" in said(client, "deliveries", ref)


async def test_what_was_given_up_is_sent_once_more_and_its_endpoint_turned_on(
    client: Client,
) -> None:
    ref = add(client)
    said(client, "test", ref)
    said(client, "test", ref)
    await give_up(client, ref)
    failed = shown(client, "deliveries", ref, "--failed")
    assert [one["state"] for one in failed] == ["DEAD", "DEAD"]
    one = str(failed[0]["delivery_id"])
    assert said(client, "retry", ref, one) == "1 to be sent now.\n"
    assert client.ok("GET", f"/api/webhooks/{ref}")["enabled"] is True
    assert said(client, "retry", ref) == "1 to be sent now.\n"
    again = run(client, "admin", "webhooks", "retry", ref)
    assert (again.returncode, again.stdout) == (1, "")
    events = [row["event_ref"] for row in shown(client, "deliveries", ref)]
    assert len(events) == 4
    assert sorted(events[:2]) == sorted(events[2:])
    newest = await client.fetch(
        "SELECT entry::jsonb ->> 'action' AS action FROM audit_entry "
        "WHERE tenant_id = $1 ORDER BY number DESC LIMIT 1",
        client.tenant_id,
    )
    assert newest[0]["action"] == "webhook.retried"


async def test_a_retry_hurries_what_is_postponed(client: Client) -> None:
    ref = add(client)
    said(client, "test", ref)
    await client.fetch(
        "UPDATE webhook_delivery SET attempts = 3, due_at = now() + interval '1 day' "
        "WHERE endpoint_ref = $1",
        ref,
    )
    assert said(client, "retry", ref) == "1 to be sent now.\n"
    statement = "SELECT due_at <= now() FROM webhook_delivery WHERE endpoint_ref = $1"
    assert [row[0] for row in await client.fetch(statement, ref)] == [True]


def test_an_endpoint_that_is_not_there_is_told_in_one_line(client: Client) -> None:
    for command in ("retry", "test"):
        for ref in (NOWHERE, "x"):
            done = run(client, "admin", "webhooks", command, ref)
            assert (done.returncode, done.stdout) == (1, "")
            assert done.stderr.startswith("meterline: ")
