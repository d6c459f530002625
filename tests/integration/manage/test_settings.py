"""What a tenant chooses for itself, and that it holds."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.integration.manage.clients import Client, codes
from tests.integration.manage.shop import Shop, make_shop

DEFAULTS: dict[str, object] = {
    "refuse_unknown_fields": False,
    "maximum_event_age_days": None,
    "closing_grace_seconds": None,
    "closing_waits_for_unsettled": False,
    "late_usage": "OWN_DOCUMENT",
    "review_documents": False,
    "reminder_days": [],
}


def event(shop: Shop, days_ago: float = 0, **fields: object) -> dict[str, Any]:
    """Return an event of a moment in the past."""
    timestamp = datetime.now(UTC) - timedelta(days=days_ago)
    return {
        "timestamp": timestamp.isoformat(),
        "customer_ref": shop.customer_ref,
        "usage_product_ref": shop.meter_ref,
        "quantity": 1,
    } | fields


def test_settings_begin_with_defaults_and_are_put_whole(client: Client) -> None:
    assert client.ok("GET", "/api/settings") == {**DEFAULTS, "updated_at": None}
    wanted = {"maximum_event_age_days": "30", "closing_grace_seconds": 0}
    chosen = client.ok("PUT", "/api/settings", wanted | {"closing_waits_for_unsettled": True})
    assert (chosen["maximum_event_age_days"], chosen["closing_grace_seconds"]) == (30, 0)
    assert chosen["closing_waits_for_unsettled"] is True
    assert client.ok("GET", "/api/settings") == chosen
    assert client.ok("PUT", "/api/settings", chosen)["maximum_event_age_days"] == 30
    assert client.ok("PUT", "/api/settings", {})["maximum_event_age_days"] is None
    late = client.ok("PUT", "/api/settings", {"late_usage": "NEXT_DOCUMENT"})["late_usage"]
    assert late == client.ok("GET", "/api/settings")["late_usage"] == "NEXT_DOCUMENT"
    assert client.refused("PUT", "/api/settings", {"late_usage": "IGNORED"}) == {
        "/late_usage": "value_unknown"
    }
    assert client.refused("PUT", "/api/settings", {"maximum_event_age_days": 0}) == {
        "/maximum_event_age_days": "number_out_of_range"
    }


def test_a_tenant_may_refuse_what_nobody_knows_on_every_route(
    client: Client, stranger: Client
) -> None:
    shop = make_shop(client)
    customer = {"name": "Southwind", "email": "ap@southwind.example", "colour": "red"}
    assert client.ok("POST", "/api/usage/event", event(shop, colour="red"))["warnings"]
    client.ok("PUT", "/api/settings", {"refuse_unknown_fields": True})
    for path, body in (
        ("/api/usage/event", event(shop, colour="red")),
        ("/api/usage/event/formatted", {"format_name": "Default Format", "event": {}, "colour": 1}),
        ("/api/customers", customer),
    ):
        answer = client.send("POST", path, body)
        assert answer.status_code == 400, answer.text
        assert codes(answer) == {"/colour": "unknown_field_strict"}
    assert client.ok("POST", "/api/usage/event", event(shop))["event_ref"]
    assert stranger.ok("POST", "/api/customers", customer)["warnings"], "it is for one tenant"


@pytest.mark.parametrize("form", ["one", "many", "many that are not plain"])
def test_an_event_may_be_too_old_for_a_tenant(client: Client, form: str) -> None:
    shop = make_shop(client)
    client.ok("PUT", "/api/settings", {"maximum_event_age_days": 10})

    def code_of(days_ago: float) -> str | None:
        body = event(shop, days_ago)
        if form == "one":
            answer = client.send("POST", "/api/usage/event", body)
            return codes(answer)["/timestamp"] if answer.status_code == 422 else None
        if form == "many that are not plain":
            body["usage_product_name"] = "Units"
        answer = client.send("POST", "/api/usage/events", [body])
        errors = answer.json()["errors"]
        return errors[0]["code"] if errors else None

    assert code_of(9.9) is None
    assert code_of(10.1) == "timestamp_too_old"


def test_reminders_have_a_schedule_of_days(client: Client) -> None:
    days = client.ok("PUT", "/api/settings", {"reminder_days": [14, -3, "1", 1]})["reminder_days"]
    assert days == client.ok("GET", "/api/settings")["reminder_days"] == [-3, 1, 14]
    wrong = client.send("PUT", "/api/settings", {"reminder_days": [366, -61, "soon"]})
    assert codes(wrong) == {
        "/reminder_days/0": "number_out_of_range",
        "/reminder_days/1": "number_out_of_range",
        "/reminder_days/2": "number_malformed",
    }
    many = client.send("PUT", "/api/settings", {"reminder_days": list(range(11))})
    assert codes(many) == {"/reminder_days": "steps_too_many"}
