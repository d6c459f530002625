"""The client and a real gateway, on its good days and on its worst."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import pytest

from meterline_client import Accepted, Client, Counts, LoginFailed, Rejected
from tests.integration.client.conftest import KillsOnce, Shop

EVENTS = 30_000


async def test_every_event_is_in_the_log_once_though_the_gateway_is_killed(
    mortal_shop: Shop,
) -> None:
    shop = mortal_shop
    killer = KillsOnce(shop.gateway, EVENTS // 4)
    async with shop.client(on_progress=killer) as client:
        report = await client.send_many(shop.event(number) for number in range(EVENTS))
        counts = await client.close()

    assert killer.was_under_way > 0, "events were under way when it died"
    assert report.is_good, report.failures[:3]
    assert (report.accepted, counts.accepted, counts.unsettled) == (EVENTS, EVENTS, 0)
    assert counts.retries > 0
    found = await shop.keys_in_log()
    assert set(found) == shop.keys(EVENTS)
    assert sum(found.values()) >= EVENTS, "repeats have the same key, so they count once"


async def test_a_repeat_has_the_same_ref_and_a_receipt_of_its_own(shop: Shop) -> None:
    async with shop.client() as client:
        first, second = [await (await client.send(shop.event(1))) for _ in range(2)]
    assert isinstance(first, Accepted)
    assert isinstance(second, Accepted)
    assert first.event_ref == second.event_ref
    assert first.receipt != second.receipt


async def test_bad_events_are_rejected_with_reasons_and_the_others_are_taken(shop: Shop) -> None:
    events = [
        shop.event(0),
        shop.event(1, quantity="NaN"),
        shop.event(2, timestamp="2024-02-05T12:00:00"),
        shop.event(3, customer_ref=shop.meter_ref),
        shop.event(4, idempotency_key="k" * 300),
        shop.event(5),
    ]
    async with shop.client() as client:
        outcomes = [outcome async for outcome in client.stream(events)]
        assert client.counts == Counts(handed_in=6, accepted=2, rejected=4)
    pointers = [o.errors[0].pointer for o in outcomes if isinstance(o, Rejected)]
    assert pointers == ["/quantity", "/timestamp", "/customer_ref", "/idempotency_key"]
    assert set(await shop.keys_in_log()) == {f"{shop.mark}-0", f"{shop.mark}-5"}


async def test_the_blocking_client_sends_what_the_other_one_does(shop: Shop) -> None:
    def events() -> Iterator[dict[str, object]]:
        return (shop.event(number) for number in range(2_500))

    def work() -> Counts:
        key, password = shop.credentials.api_key, shop.credentials.api_password
        with Client(shop.gateway.url, key, password) as client:
            assert client.send_many(events()).is_good
            return client.close()

    assert await asyncio.to_thread(work) == Counts(handed_in=2_500, accepted=2_500)
    assert len(await shop.keys_in_log()) == 2_500


async def test_a_wrong_password_is_told_at_login(shop: Shop) -> None:
    wrong = replace(shop.credentials, api_password="not this one")
    async with replace(shop, credentials=wrong).client() as client:
        with pytest.raises(LoginFailed, match="login_failed"):
            await client.login()


async def test_names_are_resolved_whatever_their_case(shop: Shop) -> None:
    async with shop.client() as client:
        for name in ("Twin", "twin"):
            body = {"name": name, "email": "ap@twin.example"}
            await client.request("POST", "/api/customers", body)
        names = await client.names()
    assert names.customer_ref(f" NORTHWIND {shop.mark} ") == shop.customer_ref
    assert names.meter_ref(f"calls {shop.mark}") == shop.meter_ref
    with pytest.raises(KeyError, match="no customer is named"):
        names.customer_ref("Nobody")
    with pytest.raises(KeyError, match="more than one"):
        names.customer_ref("twin")
