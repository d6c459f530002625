"""What a sender that knows only names means by them."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.ingest.parsing import ParsedEvent, parse_event
from gateway.ingest.validation import accept_event, find_by_name, name_warnings
from gateway.names import Names, folded
from gateway.tenant import Customer, Meter, Tenant
from schemas.errors import InvalidUsageEvent
from schemas.event_ref import shard_key, tenant_bits

TENANT_REF = "0b0e0000-0000-4000-8000-000000000001"
CUSTOMER = "00000000-0000-4000-8000-000000000001"
TWIN = "00000000-0000-4000-8000-000000000003"
METER = "00000000-0000-4000-8000-000000000002"
NOON = 1_707_134_400_000_000


def tenant() -> Tenant:
    bits = tenant_bits(TENANT_REF)
    customers = {
        ref: Customer(shard_key(ref), bits, ref.encode(), '"Northwind"') for ref in (CUSTOMER, TWIN)
    }
    made = Tenant(1, TENANT_REF, customers, {METER: Meter('"Calls"')}, version=1)
    made.customer_names.put(CUSTOMER, "Northwind")
    made.meter_names.put(METER, "Calls")
    return made


def event(**fields: str) -> ParsedEvent:
    text = ",".join(f'"{name}":{value}' for name, value in fields.items())
    return parse_event(f'{{"timestamp":"2024-02-05T12:00:00Z","quantity":1.50,{text}}}'.encode())


def refusal(parsed: ParsedEvent, known: Tenant) -> list[tuple[str, str]]:
    try:
        accept_event(parsed, known, now_micros=NOON, ahead_max_micros=0)
    except InvalidUsageEvent as error:
        return [(problem.pointer, problem.code) for problem in error.problems]
    return []


def test_a_name_counts_where_the_ref_is_absent_null_or_empty() -> None:
    names = {"customer_name": '" NORTHWIND "', "usage_product_name": '"calls"'}
    for refs in ({}, {"customer_ref": "null"}, {"usage_product_ref": '""', "customer_ref": '""'}):
        parsed = event(**names, **refs)
        known = tenant()
        assert find_by_name(parsed, known)
        assert (parsed.customer_ref, parsed.usage_product_ref) == (CUSTOMER, METER)
        assert (parsed.quantity_json, refusal(parsed, known)) == ("1.50", [])


def test_a_name_that_nobody_or_several_have_is_refused_at_the_name() -> None:
    parsed = event(customer_name='"Southwind"', usage_product_name='"Calls"')
    assert not find_by_name(parsed, tenant())
    assert (
        refusal(parsed, tenant())
        == [
            ("/customer_name", "customer_name_unknown"),
            ("/usage_product_ref", "usage_product_unknown"),
        ][:1]
    )
    known = tenant()
    known.customer_names.put(TWIN, "northwind")
    parsed = event(customer_name='"Northwind"', usage_product_name='"Calls"')
    assert not find_by_name(parsed, known)
    assert refusal(parsed, known) == [("/customer_name", "customer_name_ambiguous")]


def test_a_ref_wins_over_a_name_and_a_differing_name_is_warned_of() -> None:
    parsed = event(
        customer_ref=f'"{CUSTOMER}"',
        customer_name='"Somebody"',
        usage_product_ref=f'"{METER}"',
        usage_product_name='"CALLS "',
    )
    assert find_by_name(parsed, tenant())
    assert parsed.customer_ref == CUSTOMER
    warnings = name_warnings(parsed, tenant())
    assert [(w.pointer, w.code) for w in warnings] == [("/customer_name", "name_differs")]


def test_other_faults_of_a_named_event_are_told_of_as_ever() -> None:
    for text, found in [
        ('"quantity":"x","timestamp":"2024-02-05T12:00:00Z"', {"/quantity"}),
        ('"quantity":1', {"/timestamp"}),
        ('"quantity":1,"timestamp":"2024-02-05T12:00:00Z","x":1', {"/x"}),
        ('"quantity":1,"quantity":1', {""}),
    ]:
        raw = f'{{"customer_name":"Northwind","usage_product_name":"Calls",{text}}}'.encode()
        try:
            parse_event(raw)
        except InvalidUsageEvent as error:
            assert {problem.pointer for problem in error.problems} == found  # noqa: PT017
        else:
            raise AssertionError(raw)


names = st.sampled_from(["A", " a", "B", "b ", "Stra\u00dfe", "STRASSE", ""])
changes = st.lists(st.tuples(st.sampled_from(["1", "2", "3"]), names), max_size=12)


@given(changes)
def test_names_are_those_that_refs_have_now(made: list[tuple[str, str]]) -> None:
    index, now = Names(), dict[str, str]()
    for ref, name in made:
        index.put(ref, name, now.get(ref))
        now[ref] = name
    for name in ("a", "b", "strasse", "", "c"):
        assert sorted(index.find(name)) == sorted(
            ref for ref, known in now.items() if folded(known) == folded(name)
        )
