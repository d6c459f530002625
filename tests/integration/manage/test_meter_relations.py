"""Which meters count toward which, over HTTP: what is taken, what is refused, what is settled."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.integration.manage.clients import Client
from tests.integration.manage.shop import product_body

UNKNOWN = "00000000-0000-4000-8000-00000000ffff"
RELATION = ("relation", "parent_ref", "parent_factor", "offsets_ref")


def make(client: Client, name: str, **fields: object) -> str:
    ref: str = client.ok("POST", "/api/usage/products", {"name": name, **fields})[
        "usage_product_ref"
    ]
    return ref


def path(ref: str) -> str:
    return f"/api/usage/products/{ref}"


def relation(answer: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(answer[name] for name in RELATION)


def price(client: Client, meter_ref: str, name: str) -> None:
    item = {"item": "x", "model": "PER_UNIT", "price": "1", "usage_product_ref": meter_ref}
    client.ok("POST", "/api/products", product_body("", product_name=name, line_items=[item]))


def test_relations_are_answered_as_they_were_made_and_change_until_they_are_rated_by(
    client: Client,
) -> None:
    root = make(client, "Minutes")
    child = make(client, "Hours", parent_ref=root, parent_factor="60.000000000000000001")
    refund = make(client, "Refunds", relation="CREDIT", offsets_ref=root)
    below = make(client, "Days", parent_ref=child, parent_factor=24)
    shown = {ref: client.ok("GET", path(ref)) for ref in (root, child, refund, below)}
    raw = client.send("GET", path(child)).text
    assert '"parent_factor":60.000000000000000001' in raw.replace(" ", "")
    assert relation(shown[root]) == ("DEBIT", None, None, None)
    assert relation(shown[child])[:2] == ("DEBIT", root)
    assert relation(shown[refund]) == ("CREDIT", None, None, root)
    assert relation(shown[below]) == ("DEBIT", child, 24, None)
    listed = client.ok("GET", "/api/usage/products")["usage_products"]
    assert [relation(one) for one in listed] == [relation(one) for one in shown.values()]

    # What a body does not speak of stays, and what GET answers may be sent back.
    for body in ({"name": "Days"}, shown[below], {"name": "Days", "relation": "DEBIT"}):
        assert relation(client.ok("PUT", path(below), body)) == relation(shown[below])
    moved = client.ok("PUT", path(below), {"name": "Days", "parent_ref": root})
    assert relation(moved) == ("DEBIT", root, 1, None)
    turned = client.ok(
        "PUT", path(below), {"name": "Days", "relation": "CREDIT", "offsets_ref": child}
    )
    assert relation(turned) == ("CREDIT", None, None, child)
    assert relation(client.ok("PUT", path(below), {"name": "Days", "relation": "DEBIT"})) == (
        *("DEBIT", None, None, None),
    )
    assert relation(client.ok("PUT", path(child), {"name": "Hours", "parent_ref": None})) == (
        *("DEBIT", None, None, None),
    )


async def test_the_feeds_of_meters_follow_every_change(client: Client) -> None:
    root, middle, child = (make(client, name) for name in ("Root", "Middle", "Child"))
    client.ok("PUT", path(child), {"name": "Child", "parent_ref": middle, "parent_factor": "0.5"})
    client.ok("PUT", path(middle), {"name": "Middle", "parent_ref": root, "parent_factor": 3})
    feeds = (
        "SELECT m.name, t.name, f.factor FROM meter_feed f "
        "JOIN meter m ON m.meter_id = f.meter_id JOIN meter t ON t.meter_id = f.toward_id "
        "WHERE f.tenant_id = $1 AND m.meter_id <> t.meter_id ORDER BY 1, 2"
    )

    async def found() -> list[tuple[str, str, float]]:
        return [(a, b, float(c)) for a, b, c in await client.fetch(feeds, client.tenant_id)]

    up = [("Child", "Middle", 0.5), ("Child", "Root", 1.5), ("Middle", "Root", 3)]
    assert await found() == up
    body = {"name": "Middle", "relation": "CREDIT", "offsets_ref": root}
    client.ok("PUT", path(middle), body)
    assert await found() == [up[0], ("Child", "Root", -0.5), ("Middle", "Root", -1)]
    client.ok("PUT", path(middle), {"name": "Middle", "relation": "DEBIT", "parent_ref": None})
    assert await found() == up[:1]


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"relation": "CREDIT"}, {"/offsets_ref": "required"}),
        ({"relation": "LOAN"}, {"/relation": "value_unknown"}),
        ({"offsets_ref": UNKNOWN}, {"/offsets_ref": "field_not_applicable"}),
        ({"parent_factor": 2}, {"/parent_factor": "field_not_applicable"}),
        ({"parent_ref": "x"}, {"/parent_ref": "ref_malformed"}),
        ({"parent_ref": UNKNOWN}, {"/parent_ref": "usage_product_unknown"}),
        (
            {"relation": "CREDIT", "offsets_ref": UNKNOWN},
            {"/offsets_ref": "usage_product_unknown"},
        ),
        (
            {"relation": "CREDIT", "offsets_ref": UNKNOWN, "parent_ref": UNKNOWN},
            {"/parent_ref": "field_not_applicable"},
        ),
        ({"parent_ref": UNKNOWN, "parent_factor": 0}, {"/parent_factor": "factor_out_of_range"}),
        ({"parent_ref": UNKNOWN, "parent_factor": "-1"}, {"/parent_factor": "factor_out_of_range"}),
        ({"parent_ref": UNKNOWN, "parent_factor": 1e10}, {"/parent_factor": "factor_out_of_range"}),
        (
            {"parent_ref": UNKNOWN, "parent_factor": "0.0000000000000000001"},
            {"/parent_factor": "number_too_precise"},
        ),
    ],
)
def test_a_relation_that_cannot_be_is_refused(
    client: Client, fields: dict[str, object], wrong: dict[str, str]
) -> None:
    assert client.refused("POST", "/api/usage/products", {"name": "Units"} | fields) == wrong


def test_a_cycle_a_chain_too_long_and_what_values_cannot_be_are_refused(client: Client) -> None:
    chain = [make(client, "m0")]
    for number in range(1, 9):
        chain.append(make(client, f"m{number}", parent_ref=chain[-1]))
    too_deep = {"name": "m9", "parent_ref": chain[-1]}
    assert client.refused("POST", "/api/usage/products", too_deep) == {
        "/parent_ref": "relation_too_deep"
    }
    for lower in (chain[0], chain[1], chain[8]):
        body = {"name": "m0", "parent_ref": lower}
        assert client.refused("PUT", path(chain[0]), body) == {"/parent_ref": "relation_cycle"}
    unique = make(client, "users", aggregation="UNIQUE", unique_key="user")
    child = make(client, "more users", parent_ref=unique)
    unfit: list[dict[str, object]] = [
        {"relation": "CREDIT", "offsets_ref": unique},
        {"parent_ref": unique, "parent_factor": 2},
        {"parent_ref": child, "parent_factor": 2},
    ]
    for fields in unfit:
        wrong = client.refused("POST", "/api/usage/products", {"name": "x", **fields})
        assert list(wrong.values()) == ["relation_not_applicable"]
    doubled = make(client, "doubled")
    make(client, "half", parent_ref=doubled, parent_factor="0.5")
    change = {"name": "doubled", "aggregation": "UNIQUE", "unique_key": "user"}
    assert client.refused("PUT", path(doubled), change) == {
        "/aggregation": "relation_not_applicable"
    }
    huge = make(client, "huge", parent_ref=doubled, parent_factor=10**9)
    huger = {"name": "huger", "parent_ref": huge, "parent_factor": 2}
    assert client.refused("POST", "/api/usage/products", huger) == {
        "/parent_ref": "relation_factor_out_of_range"
    }


def test_a_relation_is_settled_once_a_line_item_prices_what_it_counts_toward(
    client: Client,
) -> None:
    root, other = make(client, "Root"), make(client, "Other")
    middle = make(client, "Middle", parent_ref=root)
    child = make(client, "Child", parent_ref=middle)
    price(client, child, "Own")  # its own lines don't depend on it
    client.ok("PUT", path(child), {"name": "Child", "parent_ref": middle, "parent_factor": 2})
    price(client, root, "Roots")
    changes: list[tuple[str, dict[str, object]]] = [
        (child, {"name": "Child", "parent_ref": middle, "parent_factor": 3}),
        (child, {"name": "Child", "parent_ref": None}),
        (middle, {"name": "Middle", "relation": "CREDIT", "offsets_ref": root}),
        (other, {"name": "Other", "parent_ref": child}),
    ]
    for ref, body in changes:
        answer = client.send("PUT", path(ref), body)
        assert (answer.status_code, answer.json()["code"]) == (409, "relation_settled")
        assert "'Root'" in answer.json()["detail"] or "'Child'" in answer.json()["detail"]
    # Its name is not; and what is made anew has no events yet.
    shown = client.ok("GET", path(child))
    assert client.ok("PUT", path(child), shown | {"name": "Kid"})["name"] == "Kid"
    assert make(client, "Younger", parent_ref=middle)


def test_what_another_tenant_measures_is_unknown(client: Client, stranger: Client) -> None:
    theirs = make(stranger, "Theirs")
    for field, relation_of in (("parent_ref", "DEBIT"), ("offsets_ref", "CREDIT")):
        body = {"name": "Ours", "relation": relation_of, field: theirs}
        assert client.refused("POST", "/api/usage/products", body) == {
            f"/{field}": "usage_product_unknown"
        }


def test_changes_at_the_same_moment_never_come_to_a_cycle(client: Client) -> None:
    one, other = make(client, "One"), make(client, "Other")

    def send(request: tuple[str, str, dict[str, object]]) -> int:
        verb, where, body = request
        return client.send(verb, where, body).status_code

    with ThreadPoolExecutor(4) as pool:
        for number in range(5):
            requests: list[tuple[str, str, dict[str, object]]] = [
                ("PUT", path(one), {"name": "One", "parent_ref": other}),
                ("PUT", path(other), {"name": "Other", "parent_ref": one}),
                ("POST", "/api/usage/products", {"name": f"Under {number}", "parent_ref": one}),
                ("POST", "/api/usage/products", {"name": f"Below {number}", "parent_ref": other}),
            ]
            assert sorted(pool.map(send, requests)) == [200, 200, 200, 422]
            for ref, name in ((one, "One"), (other, "Other")):
                client.ok("PUT", path(ref), {"name": name, "parent_ref": None})
