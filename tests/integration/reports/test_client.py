"""The Python client on events that are rated: it waits for them, changes and deletes them."""

from decimal import Decimal

import pytest

from meterline_client import AsyncClient, Client, RequestRefused
from tests.integration.reports.conftest import Reader, until


def event_of(reader: Reader) -> dict[str, object]:
    return {
        "timestamp": "2023-03-15T12:00:00Z",
        "customer_ref": reader.shop.customer_ref,
        "usage_product_ref": reader.shop.meter_ref,
        "quantity": Decimal("2.5"),
    }


def test_an_event_is_waited_for_changed_and_deleted(reader: Reader) -> None:
    reader.sign()
    with Client(reader.client.url, reader.client.api_key, reader.client.password) as client:
        sent = client.send_and_wait(event_of(reader), seconds=30)
        assert sent["outcome"] == "RATED"
        assert [charge["amount"] for charge in sent["charges"]] == [Decimal("0.01"), 30]
        ref = sent["event_ref"]
        assert client.update(ref, quantity=Decimal("7.25"))["quantity"] == Decimal("7.25")
        until(lambda: reader.read(ref)["quantity"] == 7.25, "it is changed")
        client.delete(ref, note="by mistake")
        until(lambda: reader.read(ref)["outcome"] == "DELETED", "it is deleted")
        client.delete(ref)
        with pytest.raises(RequestRefused):
            client.update(ref, quantity=1)
        with pytest.raises(TypeError):
            client.update(ref, quantity=0.1)
    assert reader.read(ref)["versions"][-1]["note"] == "by mistake"


async def test_a_retry_is_told_from_a_first_event(reader: Reader) -> None:
    client = AsyncClient(reader.client.url, reader.client.api_key, reader.client.password)
    async with client:
        event = event_of(reader) | {"idempotency_key": "one"}
        answers = [await client.send_and_wait(event, seconds=30) for _ in range(2)]
    assert [answer["outcome"] for answer in answers] == ["UNRATED", "DUPLICATE"]
    assert answers[0]["event_ref"] == answers[1]["event_ref"]
