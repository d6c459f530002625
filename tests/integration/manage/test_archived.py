"""What the gateway says of months that have left the database."""

from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio

from tests.ground import NewGround
from tests.integration.manage.clients import Client, Gateway, codes, make_tenant
from tests.integration.manage.shop import contract_body, make_shop
from tests.processes import running
from tests.rating import eventually

#: Everything before February 2023, and of billing periods in America until 5 o'clock.
FEBRUARY_2023 = 23 * 12 + 1
UNTIL = "2023-02-01T05:00:00Z"


@pytest_asyncio.fixture
async def client(new_ground: NewGround) -> AsyncIterator[Client]:
    """Give a client of a gateway of its own: what is archived is so for all tenants."""
    async with new_ground("archived") as ground:
        service = ground.service("gateway")
        with running(service):
            service.start()
            yield await make_tenant(Gateway(service.url, ground.postgres))


async def archive(client: Client, customer_ref: str, meter_ref: str) -> None:
    """Note what `meterline archive` notes, of a customer with usage in January 2023."""
    await client.fetch(
        "UPDATE rater_partition SET archived_below = $1, archived_until = $2::text::timestamptz",
        *(FEBRUARY_2023, UNTIL),
    )
    await client.fetch(
        "INSERT INTO archived_month (month, events, file_name, file_bytes, file_sha256) "
        "VALUES ($1, 1, 'x', 1, sha256(''))",
        FEBRUARY_2023 - 1,
    )
    await client.fetch(
        "INSERT INTO archived_usage (shard_key, customer_id, meter_id, month, tenant_id, events) "
        "SELECT c.shard_key, c.customer_id, m.meter_id, $3, m.tenant_id, 1 "
        "FROM customer c, meter m WHERE c.customer_ref = $1 AND m.usage_product_ref = $2",
        *(customer_ref, meter_ref, FEBRUARY_2023 - 1),
    )


async def test_nothing_is_taken_or_summed_up_in_part_of_what_is_archived(client: Client) -> None:
    shop = make_shop(client)
    other = make_shop_customer(client)
    child = {"name": "Dozens", "parent_ref": shop.meter_ref, "parent_factor": 12}
    # What counts toward a meter is usage of its lines, too.
    child_ref = client.ok("POST", "/api/usage/products", child)["usage_product_ref"]
    await archive(client, shop.customer_ref, child_ref)

    def send(timestamp: str) -> list[dict[str, Any]]:
        event = {
            "timestamp": timestamp,
            "customer_ref": shop.customer_ref,
            "usage_product_ref": shop.meter_ref,
            "quantity": 1,
        }
        answer = client.send("POST", "/api/usage/events", [event])
        errors: list[dict[str, Any]] = answer.json()["errors"]
        return errors

    async def is_heard_of() -> bool:
        return bool(send("2023-02-01T04:59:59Z"))

    await eventually(is_heard_of, "the gateway hears of the bound")
    (error,) = send("2023-02-01T04:59:59Z")
    assert (error["code"], error["pointer"]) == ("timestamp_too_old", "/timestamp")
    assert "must not be before 2023-02-01T05:00:00Z" in error["detail"]
    assert send(UNTIL) == []

    asked = {"customer_ref": shop.customer_ref}
    for path in ("/api/usage/summary", "/api/usage/events"):
        assert client.refused("GET", path, **asked) == {"/from": "month_archived"}
        assert client.ok("GET", path, **asked, **{"from": "2023-02-01"})
    gone = "114{}00-0000-8000-8000-000000000000".format("0" * 3)
    answer = client.send("GET", f"/api/usage/event/{gone}")
    assert (answer.status_code, answer.json()["code"]) == (404, "event_archived")

    refused = client.send("POST", "/api/contracts", contract_body(shop))
    assert codes(refused) == {"/products/0/billing_start_date": "month_archived"}
    later = contract_body(shop, billing_start_date="2023-02-02")
    assert client.ok("POST", "/api/contracts", later)["contract_ref"]
    without_usage = contract_body(shop) | {"customer_ref": other}
    assert client.ok("POST", "/api/contracts", without_usage)["contract_ref"]


def make_shop_customer(client: Client) -> str:
    """Make a customer without usage."""
    body = {"name": "Southwind", "email": "ap@southwind.example"}
    ref: str = client.ok("POST", "/api/customers", body)["customer_ref"]
    return ref
