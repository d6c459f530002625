"""Events read back as they were counted, one by one and page by page."""

import csv
from io import StringIO

import pytest

from tests.integration.reports.conftest import Reader, until


def test_an_event_reads_back_as_it_was_sent_with_its_charge(reader: Reader) -> None:
    contract_ref = reader.sign()
    sent = reader.send(quantity="12.50", additional_report_data={"b": 1, "a": "ü"})
    event = reader.read(sent["event_ref"])
    assert event["event_ref"] == sent["event_ref"]
    assert event["quantity"] == 12.5
    assert event["timestamp"] == "2023-03-15T12:00:00Z"
    assert list(event["additional_report_data"].items()) == [("b", 1), ("a", "ü")]
    assert event["outcome"] == "RATED"
    (version,) = event["versions"]
    assert version["receipt"] == {name: sent["receipt"][name] for name in ("partition", "offset")}
    assert {charge["contract_ref"] for charge in event["charges"]} == {contract_ref}
    assert [charge["item"] for charge in event["charges"]] == ["Calls", "Units"]
    assert event["charges"][0]["period"] == {"start": "2023-03-01", "end": "2023-04-01"}
    assert event["charges"][0]["documents"] == []


def test_an_event_that_no_contract_covers_says_so(reader: Reader) -> None:
    event = reader.read(reader.send()["event_ref"])
    assert (event["outcome"], event["charges"]) == ("UNRATED", [])


def test_a_retry_stamped_anew_across_a_months_bound_is_another_name_of_the_first(
    reader: Reader,
) -> None:
    first = reader.send(timestamp="2023-03-31T23:59:00Z", idempotency_key="night")
    reader.read(first["event_ref"])
    again = reader.send(timestamp="2023-04-01T00:01:00Z", idempotency_key="night")
    assert again["event_ref"] != first["event_ref"]
    assert reader.read(again["event_ref"])["event_ref"] == first["event_ref"]
    assert len(reader.list()["events"]) == 1


def test_a_key_used_again_with_other_content_is_shown_beside_the_event(reader: Reader) -> None:
    sent = reader.send(idempotency_key="k")
    reader.send(idempotency_key="k", quantity=11)
    last = reader.send()
    reader.read(last["event_ref"])
    event = reader.read(sent["event_ref"])
    assert event["quantity"] == 10
    (conflict,) = event["conflicts"]
    assert '"quantity":11' in conflict["record"]


def test_pages_show_every_event_once_in_one_order(reader: Reader) -> None:
    sent = [reader.send(quantity=n, timestamp=f"2023-0{1 + n % 3}-10T00:00:00Z") for n in range(7)]
    for answer in sent:
        reader.read(answer["event_ref"])
    seen, cursor = [], ""
    while True:
        page = reader.list(limit="3", **({"cursor": cursor} if cursor else {}))
        seen += [event["event_ref"] for event in page["events"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == sorted(answer["event_ref"] for answer in sent)
    february = reader.list(**{"from": "2023-02-01", "to": "2023-03-01"})["events"]
    assert {event["timestamp"] for event in february} == {"2023-02-10T00:00:00Z"}
    assert reader.list(**{"from": "2023-02-10T00:00:01Z", "to": "2023-03-10"})["events"] == []


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"cursor": "nonsense!"}, "cursor_malformed"),
        ({"limit": "0"}, "number_out_of_range"),
        ({"from": "2023-03-01", "to": "2023-02-01"}, "dates_crossed"),
        ({"from": "yesterday"}, "date_malformed"),
        ({"customer": "x"}, "unknown_field"),
        ({"usage_product_ref": "00000000-0000-4000-8000-000000000001"}, "usage_product_unknown"),
    ],
)
def test_what_is_asked_for_wrongly_is_named(
    reader: Reader, query: dict[str, str], code: str
) -> None:
    asked = {"customer_ref": reader.shop.customer_ref} | query
    refused = reader.client.refused("GET", "/api/usage/events", **asked)
    assert code in refused.values()


def test_a_summary_adds_up_by_window_and_key(reader: Reader) -> None:
    uses = [
        ("2023-03-15T10:00:00Z", "0.1", "eu"),
        ("2023-03-15T10:59:59.999999Z", "0.2", "eu"),
        ("2023-03-15T11:00:00+00:00", "5", "=1+1"),
        ("2023-03-16T00:00:00Z", "-2", None),
    ]
    for stamp, quantity, region in uses:
        data = None if region is None else {"region": region}
        sent = reader.send(timestamp=stamp, quantity=quantity, additional_report_data=data)
        reader.read(sent["event_ref"])
    summary = reader.list("/api/usage/summary", window="hour", group_by="region")
    assert [(r["start"], r["group"], r["quantity"], r["event_count"]) for r in summary["rows"]] == [
        ("2023-03-15T10:00:00Z", "eu", 0.3, 2),
        ("2023-03-15T11:00:00Z", "=1+1", 5, 1),
        ("2023-03-16T00:00:00Z", None, -2, 1),
    ]
    (month,) = reader.list("/api/usage/summary", window="month")["rows"]
    assert (month["start"], month["quantity"]) == ("2023-03-01T00:00:00Z", 3.3)
    query = {"customer_ref": reader.shop.customer_ref, "window": "hour", "group_by": "region"}
    answer = reader.client.send("GET", "/api/usage/summary", query=query, Accept="text/csv")
    rows = list(csv.DictReader(StringIO(answer.text)))
    assert [row["group"] for row in rows] == ["eu", "'=1+1", ""]
    assert [row["quantity"] for row in rows] == ["0.3", "5", "-2"]


def test_what_windows_cost_adds_up_to_the_charges(reader: Reader) -> None:
    reader.sign()
    uses = [
        ("2023-03-02T10:00:00Z", 60),
        ("2023-03-02T11:00:00Z", 60),  # climbs into the second tier
        ("2023-03-20T00:00:00Z", 5),
        ("2023-04-02T00:00:00Z", 1),  # another period begins at the bottom
        ("2022-12-31T00:00:00Z", 1_000),  # before the contract
    ]
    for stamp, quantity in uses:
        reader.read(reader.send(timestamp=stamp, quantity=quantity)["event_ref"])
    deleted = reader.send(timestamp="2023-03-21T00:00:00Z", quantity=7)["event_ref"]
    reader.read(deleted)
    reader.client.ok("DELETE", f"/api/usage/event/{deleted}")
    moved = reader.send(timestamp="2023-05-21T00:00:00Z", quantity=2)["event_ref"]
    reader.read(moved)
    change = {"event_ref": moved, "timestamp": "2023-03-20T01:00:00Z"}
    reader.client.ok("POST", "/api/usage/event/update", change)
    until(lambda: len(reader.read(deleted)["versions"]) == 2, "it is deleted")
    until(lambda: len(reader.read(moved)["versions"]) == 2, "it is moved")
    # PER_UNIT 0.0040, and GRADUATED 10 each and 5 up to 100, then 9.5
    expected = {
        "2022-12-31T00:00:00Z": [],
        "2023-03-02T00:00:00Z": [{"currency": "USD", "amount": 0.48 + 5 + 1_000 + 20 * 9.5}],
        "2023-03-20T00:00:00Z": [{"currency": "USD", "amount": 0.028 + 7 * 9.5}],
        "2023-04-02T00:00:00Z": [{"currency": "USD", "amount": 0.004 + 15}],
    }
    rows = reader.list("/api/usage/summary")["rows"]
    assert {row["start"]: row["amounts"] for row in rows} == expected
    (late,) = reader.list(
        "/api/usage/summary", **{"from": "2023-03-02T10:30:00Z", "to": "2023-03-03"}
    )["rows"]
    assert late["amounts"] == [{"currency": "USD", "amount": 0.24 + 400 + 20 * 9.5}]
    charges = reader.read(moved)["charges"]
    march: float = sum(charge["amount"] for charge in charges)
    assert march == pytest.approx(0.48 + 5 + 1_000 + 20 * 9.5 + 0.028 + 7 * 9.5)
    query = {"customer_ref": reader.shop.customer_ref, "window": "month", "from": "2023-04-01"}
    answer = reader.client.send("GET", "/api/usage/summary", query=query, Accept="text/csv")
    (row,) = csv.DictReader(StringIO(answer.text))
    assert (row["amount"], row["currency"]) == ("15.004", "USD")
    grouped = reader.list("/api/usage/summary", group_by="region")["rows"]
    assert {row["amounts"] for row in grouped} == {None}


def test_nobody_reads_what_another_tenant_used(reader: Reader, stranger: Reader) -> None:
    sent = reader.send()
    reader.read(sent["event_ref"])
    path = f"/api/usage/event/{sent['event_ref']}"
    assert stranger.client.send("GET", path).status_code == 404
    for listing in ("/api/usage/events", "/api/usage/summary"):
        refused = stranger.client.refused("GET", listing, customer_ref=reader.shop.customer_ref)
        assert refused == {"/customer_ref": "customer_unknown"}
