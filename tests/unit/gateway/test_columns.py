"""Many events at once, or a plain one alone, come out as the careful way has them, or not."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.ingest.bulk import Bulk
from gateway.ingest.columns import NotPlain, PlainEvents
from gateway.ingest.parsing import ParsedEvent, parse_event
from gateway.ingest.plain_event import accept_plain
from gateway.ingest.validation import AcceptedEvent, accept_event
from gateway.tenant import Customer, Meter, Tenant, TenantSettings
from schemas.additional_data import check_key
from schemas.errors import InvalidInput
from schemas.event_ref import key_digest, shard_key, tenant_bits

TENANT_REF = "0b0e0000-0000-4000-8000-000000000001"
CUSTOMERS = [f"00000000-0000-4000-8000-00000000000{digit}" for digit in "12a"]
METER = "00000000-0000-4000-8000-0000000000ff"
NOON = 1_707_134_400_000_000
HOUR = 3_600_000_000

TENANT = Tenant(
    1,
    TENANT_REF,
    {
        ref: Customer(shard_key(ref), tenant_bits(TENANT_REF), ref.encode(), '"A"')
        for ref in CUSTOMERS
    },
    {METER: Meter('"M"')},
    version=1,
)
PLAIN = PlainEvents(TENANT, now_micros=NOON, ahead_max_micros=HOUR)

# Each is a field as it stands in the event, or nothing.
TIMES = [
    '"timestamp":"2024-02-05T11:59:27.279Z"', '"timestamp":"2024-01-31T23:59:59Z"',
    '"timestamp":"2023-12-31T23:59:59.999Z"', '"timestamp":"2024-02-05 00:00:00.000Z"',
]  # fmt: skip
ODD_TIMES = [
    '"timestamp":"2024-02-05T12:00:00"', '"timestamp":"2024-02-30T12:00:00Z"',
    '"timestamp":"2024-02-05T13:00:00.000Z"', '"timestamp":"2024-02-05T13:00:00.001Z"',
    '"timestamp":"1999-12-31T23:59:59.999Z"', '"timestamp":"2024-02-05T12:00:00.123456Z"',
    '"timestamp":"2024-02-05T09+02:27Z"', '"timestamp":"2024-02-05T12:00:60Z"',
    '"timestamp":"2024-02-05T12:00:00+01:00"', '"timestamp":7', "",
    '"timestamp":"2024-02-05T11:59:27Z","timestamp":"2024-02-05T11:59:28Z"',
]  # fmt: skip
REFS = [f'"customer_ref":"{ref}","usage_product_ref":"{METER}"' for ref in CUSTOMERS]
ODD_REFS = [
    REFS[2].upper().replace("CUSTOMER_REF", "customer_ref").replace(
        "USAGE_PRODUCT_REF", "usage_product_ref"
    ),
    f'"customer_ref":"{METER}","usage_product_ref":"{METER}"',
    f'"customer_ref":"{CUSTOMERS[0]}","usage_product_ref":"{CUSTOMERS[0]}"',
    f'{REFS[0]},"customer_name":"A"', f'{REFS[0]},"usage_product_name":null',
    f'{REFS[0]},"validations":{{"currency":"EUR"}}', f'{REFS[0]},"unknown":1',
    f"{REFS[0]},{REFS[0]}",
]  # fmt: skip
QUANTITIES = [
    '"quantity":1', '"quantity": 2.50', '"quantity":-0.25', '"quantity":0', '"quantity":"30"',
    '"quantity":99999999999999999999', '"quantity":"-1e3"',
]  # fmt: skip
ODD_QUANTITIES = [
    '"quantity":1e3', '"quantity":1E-2', '"quantity":"1.2.3"', '"quantity":""', '"quantity":null',
    '"quantity":999999999999999999999', '"quantity":0.1234567890123456789', '"quantity":true',
    '"quantity":"\\u0031"', '"quantity":[1]', '"quantity":1,"quantity":2',
    '"quantity":0.10000000000000000000000000',
]  # fmt: skip
DATA = [
    "", '"additional_report_data":null', '"additional_report_data":{}',
    '"additional_report_data":{"region":"eu","n":1.50,"on":true,"off":null,"é":-7}',
    '"additional_report_data": { "b" : "x,y" , "a" : 1e3 }',
]  # fmt: skip
ODD_DATA = [
    '"additional_report_data":{"a":1,"a":2}', '"additional_report_data":[]',
    '"additional_report_data":{"a":{"b":[1]}}', '"additional_report_data":{"a":"\\u0000"}',
    '"additional_report_data":{"a":"say \\"yes\\""}', '"additional_report_data":{"":1}',
    '"additional_report_data":"{}"', '"additional_report_data":{"a\\n":1}',
    '"additional_report_data":{"a":1e5000}', f'"additional_report_data":{{"a":{10**99}}}',
    f'"additional_report_data":{{"a":{10**101}}}', '"additional_report_data":{"a":"\\"","a":1}',
    '"additional_report_data":null,"additional_report_data":{}',
]  # fmt: skip
KEYS = ["", '"idempotency_key":"order-1"', '"idempotency_key":"é"']
ODD_KEYS = [
    '"idempotency_key":""', '"idempotency_key":null',
    '"idempotency_key":"a\\"b"', '"idempotency_key":"a\\\\b"',
    '"idempotency_key":"a\\u001fb"', '"idempotency_key":"\\u001fb"', '"idempotency_key":5',
    f'"idempotency_key":"{"k" * 256}"', '"idempotency_key":"a\\u0301"',
    '"idempotency_key":"k","idempotency_key":"k"',
]  # fmt: skip

plain_events = st.tuples(*map(st.sampled_from, (TIMES, REFS, QUANTITIES, DATA, KEYS)))
strange_events = st.tuples(
    *map(
        st.sampled_from,
        (TIMES + ODD_TIMES, REFS + ODD_REFS, QUANTITIES + ODD_QUANTITIES, DATA + ODD_DATA,
         KEYS + ODD_KEYS),
    )
)  # fmt: skip
spares = st.none() | st.sampled_from(["batch-7", "é"])


def written(fields: tuple[str, ...]) -> bytes:
    return f"{{{','.join(field for field in fields if field)}}}".encode()


def carefully(element: bytes, spare_key: str | None) -> tuple[ParsedEvent, AcceptedEvent] | str:
    """Take an event the careful way; the code of what is wrong with a bad one."""
    try:
        event = parse_event(element)
        if event.idempotency_key is None and spare_key is not None:
            check_key(spare_key)
            event.idempotency_key = spare_key
        return event, accept_event(event, TENANT, now_micros=NOON, ahead_max_micros=HOUR)
    except InvalidInput as error:
        return error.code


def one_by_one(element: bytes, spare_key: str | None) -> AcceptedEvent | str:
    found = carefully(element, spare_key)
    return found if isinstance(found, str) else found[1]


def alone(
    element: bytes, spare_key: str | None, tenant: Tenant = TENANT
) -> tuple[ParsedEvent, AcceptedEvent] | None:
    return accept_plain(element, spare_key, tenant, NOON, HOUR)


@given(plain_events, spares)
def test_a_plain_event_that_comes_alone_is_accepted_as_the_careful_way_has_it(
    fields: tuple[str, ...], spare: str | None
) -> None:
    element = written(fields)
    assert alone(element, spare) == carefully(element, spare)


@given(strange_events, spares)
def test_what_is_accepted_alone_is_what_the_careful_way_accepts(
    fields: tuple[str, ...], spare: str | None
) -> None:
    element = written(fields)
    found = alone(element, spare)
    assert found is None or found == carefully(element, spare)


def test_a_key_beside_the_event_is_a_good_one_or_the_careful_ways_affair() -> None:
    keyless = written((TIMES[0], REFS[0], QUANTITIES[0]))
    assert alone(keyless, "a\nb") is None
    found = alone(keyless, "order-7")
    assert found is not None
    assert found[0].idempotency_key == "order-7"


def test_an_event_alone_is_bound_by_the_tenants_age() -> None:
    good = written((TIMES[0], REFS[0], QUANTITIES[0]))
    settings = TenantSettings(age_micros_max=HOUR)
    assert alone(good, None, msgspec.structs.replace(TENANT, settings=settings)) is not None
    settings = TenantSettings(age_micros_max=1_000_000)
    assert alone(good, None, msgspec.structs.replace(TENANT, settings=settings)) is None


@given(st.lists(plain_events, min_size=1, max_size=6), spares)
def test_plain_events_are_accepted_as_one_by_one(
    events: list[tuple[str, ...]], spare: str | None
) -> None:
    elements = [written(fields) for fields in events]
    expected = [one_by_one(element, spare) for element in elements]
    assert PLAIN.accept(elements, [spare] * len(elements)) == expected


@given(strange_events, st.lists(plain_events, max_size=3), spares)
def test_what_is_accepted_would_be_one_by_one(
    strange: tuple[str, ...], others: list[tuple[str, ...]], spare: str | None
) -> None:
    elements = [written(strange), *(written(fields) for fields in others)]
    try:
        accepted = PLAIN.accept(elements, [spare] * len(elements))
    except NotPlain:
        return
    assert accepted == [one_by_one(element, spare) for element in elements]


@pytest.mark.parametrize("fields", [ODD_TIMES, ODD_REFS, ODD_QUANTITIES, ODD_DATA, ODD_KEYS])
def test_nothing_wrong_is_accepted_beside_good_ones(fields: list[str]) -> None:
    columns = [TIMES, REFS, QUANTITIES, DATA, KEYS]
    place = [ODD_TIMES, ODD_REFS, ODD_QUANTITIES, ODD_DATA, ODD_KEYS].index(fields)
    good = tuple(column[0] for column in columns)
    refused = 0
    for odd in fields:
        element = written((*good[:place], odd, *good[place + 1 :]))
        if isinstance(one_by_one(element, None), str):
            refused += 1
            with pytest.raises(NotPlain):
                PLAIN.accept([written(good), element], [None, None])
    assert refused, "some of these are wrong"


def test_lines_that_are_json_only_together_are_refused() -> None:
    good = written((TIMES[0], REFS[0], QUANTITIES[0]))
    open_one = good[:-1] + b',"additional_report_data":{"a":[1'
    for elements in ([good + b"," + good], [good + b"," + open_one, b"2]}}", good]):
        with pytest.raises(NotPlain):
            PLAIN.accept(elements, [None] * len(elements))


def test_an_event_that_is_too_large_is_left_to_the_careful_way() -> None:
    good = written((TIMES[0], REFS[0], QUANTITIES[0]))
    with pytest.raises(NotPlain):
        PLAIN.accept([good[:-1] + b" " * 65_536 + b"}"], [None])
    assert alone(good[:-1] + b" " * 65_536 + b"}", None) is None


@given(st.lists(strange_events, min_size=1, max_size=60), st.sampled_from([None, "batch"]))
async def test_a_request_is_judged_event_by_event(
    events: list[tuple[str, ...]], key: str | None
) -> None:
    elements = [written(fields) for fields in events]
    bulk = Bulk(key=key)
    await bulk.parse(elements, PLAIN)
    await bulk.accept(
        lambda parsed: accept_event(parsed, TENANT, now_micros=NOON, ahead_max_micros=HOUR)
    )
    expected = [
        one_by_one(element, None if key is None else f"{key}/{index}")
        for index, element in enumerate(elements)
    ]
    assert bulk.accepted == [each if isinstance(each, AcceptedEvent) else None for each in expected]
    wrong = [index for index, each in enumerate(expected) if isinstance(each, str)]
    assert sorted({error.index for error in bulk.errors}) == wrong


def test_keys_beyond_ascii_have_the_digests_that_they_have_alone() -> None:
    event = written((TIMES[0], REFS[0], QUANTITIES[0], KEYS[2]))
    (accepted,) = PLAIN.accept([event], [None])
    assert accepted.digest == key_digest(TENANT_REF, CUSTOMERS[0], "é")
    assert json.loads(accepted.record)["idempotency_key"] == "é"
