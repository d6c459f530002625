"""Balances of running periods, and alerts on them, by the services themselves."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

from aiokafka import AIOKafkaConsumer

from schemas.topics import BILLING_ALERTS
from tests.integration.manage.clients import Client
from tests.integration.manage.shop import TIERS
from tests.integration.reports.conftest import Reader, until

NOW = datetime.now(UTC)
INCLUDED = 100


def sell(reader: Reader, **terms: object) -> tuple[str, dict[str, str]]:
    """Sell lines over the reader's meter, from last year on; the contract and its line items."""
    meter = {"usage_product_ref": reader.shop.meter_ref}
    body = {
        "product_name": "Metered",
        "pricing_name": "Metered",
        "publish": True,
        "line_items": [
            {"item": "Fee", "model": "FLAT", "price": "5", "quantity": 1},
            {
                "item": "Calls",
                "model": "PER_UNIT",
                "price": "0.5",
                "included_quantity": INCLUDED,
                **meter,
            },
            {"item": "Tiers", "model": "GRADUATED", "tiers": TIERS, **meter},
        ],
    }
    product = reader.client.ok("POST", "/api/products", body)
    start = NOW.date().replace(day=1) - timedelta(days=40)
    sold = {
        "product_pricing_ref": product["pricing_ref"],
        "billing_start_date": start.replace(day=1).isoformat(),
        "billing_end_date": (NOW.date() + timedelta(days=400)).isoformat(),
        **terms,
    }
    asked = {"customer_ref": reader.shop.customer_ref, "closing": "MANUAL", "products": [sold]}
    contract = reader.client.ok("POST", "/api/contracts", asked)
    lines = {line["item"]: line["line_item_ref"] for line in product["line_items"]}
    return contract["contract_ref"], lines


def use(reader: Reader, quantity: object) -> str:
    """Send usage of now and wait until it is rated."""
    sent = reader.send(timestamp=NOW.isoformat(), quantity=quantity)
    reader.read(sent["event_ref"])
    return str(sent["event_ref"])


def balances(client: Client, contract_ref: str) -> dict[str, Any]:
    answer = client.send("GET", f"/api/contracts/balances/{contract_ref}")
    assert answer.ok, answer.text
    (product,) = answer.json(parse_float=Fraction)["products"]
    shown: dict[str, Any] = product
    return shown


def alert(reader: Reader, **fields: object) -> str:
    return str(reader.client.ok("POST", "/api/alerts", fields)["alert_ref"])


def fired(reader: Reader, ref: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = reader.client.ok("GET", f"/api/alerts/{ref}")["fired"]
    return found


async def told(reader: Reader, *refs: str) -> list[dict[str, Any]]:
    """Return what the topic says of alerts, once it speaks of all of them."""
    topic = reader.site.topic_prefix + BILLING_ALERTS
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=reader.site.kafka, auto_offset_reset="earliest"
    )
    await consumer.start()
    found: list[dict[str, Any]] = []
    try:
        while set(refs) - {message["alert_ref"] for message in found}:
            for records in (await consumer.getmany(timeout_ms=10_000)).values():
                assert {record.key.decode() for record in records}
                found += [json.loads(record.value) for record in records]
    finally:
        await consumer.stop()
    return [message for message in found if message["alert_ref"] in refs]


def test_balances_say_what_is_used_and_what_is_left(reader: Reader) -> None:
    terms: Mapping[str, Any] = {
        "minimum_fee": 2_000,
        "discount": 10,
        "tax": 20,
        "commitments": [{"over": "PERIOD", "amount": 3_000}],
        "credits": [{"name": "welcome", "amount": 4_000}],
    }
    contract, lines = sell(reader, **terms)
    empty = balances(reader.client, contract)
    assert [line["quantity"] for line in empty["line_items"]] == [1, 0, 0]
    use(reader, "60.25")
    use(reader, "60.25")
    shown = balances(reader.client, contract)
    _, calls, tiers = shown["line_items"]
    assert calls["line_item_ref"] == lines["Calls"]
    assert calls["usage_product_ref"] == reader.shop.meter_ref
    assert (calls["quantity"], calls["event_count"]) == (Fraction("120.5"), 2)
    assert (calls["included_quantity"], calls["included_left"]) == (INCLUDED, 0)
    assert (calls["usage_amount"], calls["amount"]) == (Fraction("10.25"), Fraction("10.25"))
    # 5 and 10 each up to 100, then 9.5 each
    assert tiers["amount"] == Fraction("1199.75")
    assert shown["sub_total"] == Fraction(1_215)
    assert (shown["minimum_fee"], shown["minimum_fee_left"]) == (2_000, 785)
    assert shown["commitments"] == [
        {"over": "PERIOD", "amount": 3_000, "spent": 2_000, "left": 1_000}
    ]
    (credit,) = shown["credits"]
    assert (credit["granted"], credit["drawn"], credit["left"]) == (4_000, 0, 4_000)
    # Two periods before this one have no document yet; each comes to 2,000 less 10 % with 20 %.
    ended = shown["credit_left"]
    assert ended == max(4_000 - (1 + past_periods(contract, reader)) * 2_160, 0)
    assert (
        reader.client.send(
            "GET", "/api/contracts/balances/00000000-0000-0000-0000-000000000000"
        ).json()["code"]
        == "contract_unknown"
    )


def past_periods(contract: str, reader: Reader) -> int:
    """Return how many periods have ended: all months since the one 40 days before this one."""
    first = (NOW.date().replace(day=1) - timedelta(days=40)).replace(day=1)
    return (NOW.year - first.year) * 12 + NOW.month - first.month


async def test_an_alert_fires_exactly_at_its_threshold_and_once(reader: Reader) -> None:
    contract, lines = sell(reader)
    quantity = alert(
        reader, contract_ref=contract, line_item_ref=lines["Calls"], kind="QUANTITY", threshold=100
    )
    percent = alert(
        reader,
        customer_ref=reader.shop.customer_ref,
        usage_product_ref=reader.shop.meter_ref,
        kind="INCLUDED_PERCENT",
        threshold="100",
        name="all that is included",
    )
    above = alert(
        reader,
        contract_ref=contract,
        line_item_ref=lines["Calls"],
        kind="AMOUNT",
        threshold="0.000000001",
    )
    use(reader, "99.999999999")
    assert fired(reader, quantity) == []
    last = use(reader, "0.000000001")
    (one,) = fired(reader, quantity)
    assert (one["value"], one["threshold"], one["version"]) == (100, 100, 1)
    assert one["line_item_ref"] == lines["Calls"]
    assert [f["value"] for f in fired(reader, percent)] == [100], "two alerts on one charge"
    assert fired(reader, above) == [], "what is included costs nothing"
    # Falling below and crossing again tells nobody twice.
    reader.client.ok("DELETE", f"/api/usage/event/{last}")
    until(lambda: len(reader.read(last)["versions"]) == 2, "it is deleted")
    use(reader, 5)
    assert fired(reader, quantity) == [one]
    (crossed,) = fired(reader, above)
    assert crossed["value"] == 2.4999999995
    messages = await told(reader, quantity, percent, above)
    assert sorted(m["alert_ref"] for m in messages) == sorted([quantity, percent, above])
    (message,) = [m for m in messages if m["alert_ref"] == percent]
    assert (message["name"], message["value"], message["threshold"]) == (
        "all that is included", "100", "100",
    )  # fmt: skip
    assert message["customer_ref"] == reader.shop.customer_ref
    assert message["contract_ref"] == contract


def test_balances_and_alerts_go_on_through_an_edit_of_the_contract(reader: Reader) -> None:
    terms: Mapping[str, Any] = {
        "commitments": [{"over": "CONTRACT", "amount": 10_000}],
        "credits": [{"name": "welcome", "amount": 4_000}],
    }
    contract, lines = sell(reader, **terms)
    watched = {"contract_ref": contract, "line_item_ref": lines["Tiers"], "kind": "QUANTITY"}
    reached, ahead = (alert(reader, **watched, threshold=threshold) for threshold in (40, 100))
    spent = alert(reader, contract_ref=contract, kind="COMMITMENT_PERCENT", threshold="1")
    use(reader, 50)
    before = balances(reader.client, contract)
    assert [len(fired(reader, one)) for one in (reached, ahead, spent)] == [1, 0, 1]
    sold = reader.client.ok("GET", f"/api/contracts/{contract}")["products"][0]
    edited = {"include_current_invoice": True, "products": [{**sold, "discount": 50}]}
    reader.client.ok("POST", f"/api/contracts/edit/{contract}", edited)
    until(
        lambda: balances(reader.client, contract)["credit_left"] != before["credit_left"],
        "it counts",
    )
    after = balances(reader.client, contract)
    # The months before the edit have no documents yet: they are spent, and credits pay for them.
    assert after["commitments"] == before["commitments"]
    (credit,) = after["credits"]
    assert (credit["granted"], credit["left"]) == (4_000, 4_000)
    assert after["sub_total"] == before["sub_total"]
    assert after["credit_left"] == before["credit_left"] + Fraction(before["sub_total"]) / 2
    # The running period is another one of another version, and is looked at once it prices.
    until(lambda: [len(fired(reader, one)) for one in (reached, spent)] == [2, 2], "they fire anew")
    use(reader, 50)
    assert [len(fired(reader, one)) for one in (reached, ahead, spent)] == [2, 1, 2]


def test_what_is_past_its_threshold_already_fires_at_once(reader: Reader) -> None:
    contract, lines = sell(
        reader,
        commitments=[{"over": "PERIOD", "amount": 1_000}],
        credits=[{"amount": 100_000}],
    )
    use(reader, 50)
    wanted = {"contract_ref": contract, "line_item_ref": lines["Tiers"], "kind": "QUANTITY"}
    late = alert(reader, **wanted, threshold=20)
    far = alert(reader, **wanted, threshold=1_000)
    spent = alert(reader, contract_ref=contract, kind="COMMITMENT_PERCENT", threshold="51")
    credit = alert(reader, contract_ref=contract, kind="CREDIT_LEFT", threshold="99485")
    until(lambda: bool(fired(reader, late)), "it fires, though nothing moves")
    assert fired(reader, late)[0]["value"] == 50
    until(lambda: bool(fired(reader, spent)), "5, and 5 and 10 each, of 1,000")
    assert fired(reader, spent)[0]["value"] == 51
    # Three months' fees and this month's usage.
    until(lambda: bool(fired(reader, credit)), "it falls to its threshold")
    assert fired(reader, far) == []
    # Another threshold is another alert; a deleted one is none.
    changed = reader.client.ok("PUT", f"/api/alerts/{late}", {"threshold": 60})
    assert (changed["version"], changed["threshold"], changed["name"]) == (2, 60, None)
    same = reader.client.ok("PUT", f"/api/alerts/{far}", {"threshold": "1000.0", "name": "far"})
    assert (same["version"], same["name"]) == (1, "far")
    reader.client.ok("DELETE", f"/api/alerts/{far}")
    assert reader.client.send("GET", f"/api/alerts/{far}").json()["code"] == "alert_unknown"
    use(reader, 10)
    assert [(f["version"], f["value"]) for f in fired(reader, late)] == [(2, 60), (1, 50)]
    use(reader, 2_000)
    listed = reader.client.ok("GET", "/api/alerts", contract_ref=contract)["alerts"]
    assert {one["alert_ref"] for one in listed} == {late, spent, credit}
    page = reader.client.ok("GET", "/api/alerts", limit="2")
    rest = reader.client.ok("GET", "/api/alerts", limit="2", cursor=page["next_cursor"])
    assert [len(page["alerts"]), len(rest["alerts"]), rest["next_cursor"]] == [2, 1, None]


def test_an_alert_that_can_not_be_is_refused_with_the_field(
    reader: Reader, stranger: Reader
) -> None:
    contract, lines = sell(reader)
    good = {"contract_ref": contract, "line_item_ref": lines["Calls"], "kind": "QUANTITY"}
    wrong: list[tuple[dict[str, object], dict[str, str]]] = [
        ({"threshold": 0}, {"/threshold": "number_not_positive"}),
        ({"threshold": -1}, {"/threshold": "number_negative"}),
        ({"threshold": 1, "kind": "MOOD"}, {"/kind": "value_unknown"}),
        ({"threshold": 1, "contract_ref": None}, {"/contract_ref": "one_of_two"}),
        ({"threshold": 1, "line_item_ref": None}, {"/line_item_ref": "one_of_two"}),
        ({"threshold": 1, "kind": "CREDIT_LEFT"}, {"/line_item_ref": "field_not_applicable"}),
        (
            {"threshold": 1, "kind": "INCLUDED_PERCENT", "line_item_ref": lines["Tiers"]},
            {"/line_item_ref": "nothing_included"},
        ),
        ({"threshold": 1, "line_item_ref": lines["Fee"]}, {"/line_item_ref": "line_without_usage"}),
        (
            {"threshold": 1, "line_item_ref": reader.shop.line_refs["Calls"]},
            {"/line_item_ref": "line_item_unknown"},
        ),
    ]
    for change, refused in wrong:
        assert reader.client.refused("POST", "/api/alerts", good | change) == refused, change
    asked = good | {"threshold": 1}
    assert stranger.client.refused("POST", "/api/alerts", asked) == {
        "/contract_ref": "contract_unknown",
        "/line_item_ref": "line_item_unknown",
    }
    ref = alert(reader, **asked)
    for verb, body in (("GET", None), ("PUT", {"threshold": 1}), ("DELETE", None)):
        assert stranger.client.send(verb, f"/api/alerts/{ref}", body).status_code == 404
    path = f"/api/contracts/balances/{contract}"
    assert stranger.client.send("GET", path).status_code == 404
