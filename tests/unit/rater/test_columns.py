"""Records decoded side by side come out as one by one, whatever lies beside them."""

from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rater.arrivals import Log, Poll
from rater.columns import NotPlain, decode_plain
from rater.decoding import decode, decode_use
from schemas.event_ref import partition_of, shard_key

TENANT = "0b0e0000-0000-4000-8000-000000000001"
CUSTOMERS = [f"00000000-0000-4000-8000-00000000000{digit}" for digit in "12a"]
METER = "00000000-0000-4000-8000-0000000000ff"
NOON = 1_707_134_400_000
LOG = Log("00000000-0000-4000-8000-000000000fff", 0, 1)

# Each is a field as it stands in the record, or nothing.
KINDS = ['"v":1,"kind":"USAGE"']
ODD_KINDS = ['"v":2,"kind":"USAGE"', '"v":1,"kind":"UPDATE"', '"kind":"USAGE"', '"v":1']
TENANTS = ["", f'"tenant_ref":"{TENANT}"', f'"tenant_ref":"{TENANT.upper()}"']
ODD_TENANTS = ['"tenant_ref":null', '"tenant_ref":""', '"tenant_ref":7']
TIMES = [
    '"timestamp":"2024-02-05T11:59:27.279Z"', '"timestamp":"2024-01-31T23:59:59Z"',
    '"timestamp":"2024-02-04T00:00:00Z"', '"timestamp":"2024-02-04T00:00:00.001Z"',
    '"timestamp":"2024-01-29T00:00:00Z"', '"timestamp":"2024-02-05T13:00:00.123456+01:00"',
    '"timestamp":"2024-02-05t12:00:00z"', '"timestamp":"2000-01-01T00:00:00Z"',
]  # fmt: skip
ODD_TIMES = [
    '"timestamp":"2024-02-05T12:00:00"', '"timestamp":"2024-02-30T12:00:00Z"',
    '"timestamp":"2024-02-05T13:00:00.001Z"', '"timestamp":"1999-12-31T23:59:59.999Z"',
    '"timestamp":"2024-02-05T12:00:60Z"', '"timestamp":7', "",
    '"timestamp":"2024-02-05T11:59:27Z","timestamp":"2024-02-05T11:59:28Z"',
]  # fmt: skip
REFS = [
    *(f'"customer_ref":"{ref}","usage_product_ref":"{METER}"' for ref in CUSTOMERS),
    f'"customer_ref":"{CUSTOMERS[2].upper()}","usage_product_ref":"{METER.upper()}"',
]
ODD_REFS = [
    f'"customer_ref":"{CUSTOMERS[0]}","usage_product_ref":"7"', f'"customer_ref":"{CUSTOMERS[0]}"',
    f'"customer_ref":"{METER}","usage_product_ref":"{METER}"', f'{REFS[0]},"unknown":1',
    f'"customer_ref":"{CUSTOMERS[0][:-1]}\\u0031","usage_product_ref":"{METER}"',
]  # fmt: skip
QUANTITIES = [
    '"quantity":1', '"quantity": 2.50', '"quantity":-0.25', '"quantity":"30"', '"quantity":1E-2',
    '"quantity":99999999999999999999', '"quantity":0.123456789012345678', '"quantity":"-1e3"',
]  # fmt: skip
ODD_QUANTITIES = [
    '"quantity":"1.2.3"', '"quantity":""', '"quantity":null', '"quantity":999999999999999999999',
    '"quantity":0.1234567890123456789', '"quantity":"\\u0031"', '"quantity":1,"quantity":2',
]  # fmt: skip
DATA = [
    "", '"additional_report_data":null', '"additional_report_data":{}',
    '"additional_report_data":{"region":"eu","n":1.50,"on":true,"é":{"a":["x",-7]}}',
    '"additional_report_data": { "b" : "x,y" , "a" : 1e3 }',
]  # fmt: skip
PLAIN_DATA = DATA[:1] + DATA[2:]
ODD_DATA = [
    '"additional_report_data":{"a":1,"a":2}', '"additional_report_data":[]',
    '"additional_report_data":{"a":"\\u0000"}', '"additional_report_data":{"a":"say \\"yes\\""}',
    '"additional_report_data":{"":1}', '"additional_report_data":{"a":"\\"","a":1}',
]  # fmt: skip
KEYS = [
    "", '"idempotency_key":"order-1"', '"idempotency_key":"é"', '"idempotency_key":"a\\u001fb"',
]  # fmt: skip
PLAIN_KEYS = KEYS[:3]
ODD_KEYS = [
    '"idempotency_key":""', '"idempotency_key":null', '"idempotency_key":"a\\"b"',
    '"idempotency_key":"\\u001fb"', f'"idempotency_key":"{"k" * 256}"',
    '"idempotency_key":"a\\u0301"', '"idempotency_key":"k","idempotency_key":"k"',
]  # fmt: skip
HEADERS: list[tuple[tuple[str, bytes], ...]] = [
    (), (("meterline-origin", b"3,77"),), (("meterline-origin", b"x"),), (("trace", b"1"),),
]  # fmt: skip


class Entry(msgspec.Struct):
    """A record, as Kafka's client gives it."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()


def written(fields: tuple[str, ...]) -> bytes:
    return f"{{{','.join(field for field in fields if field)}}}".encode()


def a_record(*columns: Sequence[str]) -> st.SearchStrategy[Entry]:
    fields = st.tuples(*map(st.sampled_from, columns))
    return st.builds(
        lambda fields, customer, headers: Entry(
            0,
            NOON,
            next((ref for ref in CUSTOMERS if ref in fields[3].lower()), customer).encode(),
            written(fields),
            headers,
        ),
        fields,
        st.sampled_from(CUSTOMERS),
        st.sampled_from(HEADERS),
    )


GOOD = (KINDS, TENANTS, TIMES, REFS, QUANTITIES, DATA, KEYS)
ODD = (ODD_KINDS, ODD_TENANTS, ODD_TIMES, ODD_REFS, ODD_QUANTITIES, ODD_DATA, ODD_KEYS)
good_records = a_record(*GOOD)
strange_records = a_record(*(good + odd for good, odd in zip(GOOD, ODD, strict=True))) | st.builds(
    Entry, st.just(0), st.just(NOON), st.none() | st.just(b"k"), st.none() | st.binary(max_size=20)
)
plain_records = a_record(KINDS, TENANTS, TIMES, REFS, QUANTITIES, PLAIN_DATA, PLAIN_KEYS)
tenants = st.sampled_from([None, TENANT])


def logged(records: list[Entry]) -> list[Entry]:
    offset = 0
    for record in records:
        offset += 1 + (len(record.value or b"") % 7 == 0)  # here and there is a gap
        record.offset = offset
        record.timestamp = NOON + offset
    return records


def one_by_one(records: Sequence[Entry], tenant_ref: str | None) -> Poll:
    """Decode each record as if nothing else were in the log."""
    whole = Poll.empty(0)
    for record in records:
        whole.extend(decode([record], LOG, whole.next_offset, record.offset + 1, tenant_ref))
    return whole


@given(st.lists(good_records | strange_records, min_size=1, max_size=40), tenants)
def test_a_record_decodes_alike_alone_and_beside_others(
    records: list[Entry], tenant_ref: str | None
) -> None:
    end = logged(records)[-1].offset + 1
    assert decode(records, LOG, 0, end, tenant_ref) == one_by_one(records, tenant_ref)


@given(st.lists(good_records | strange_records, min_size=1, max_size=6), tenants)
def test_what_comes_out_side_by_side_is_what_the_careful_way_makes(
    records: list[Entry], tenant_ref: str | None
) -> None:
    try:
        arrivals = decode_plain(logged(records), LOG, tenant_ref)
    except NotPlain:
        return
    assert arrivals == [decode_use(record, LOG, tenant_ref) for record in records]


@given(st.lists(plain_records, min_size=1, max_size=40))
def test_plain_records_need_no_careful_look(records: list[Entry]) -> None:
    assert len(decode_plain(logged(records), LOG, TENANT)) == len(records)


def test_a_record_in_another_partition_or_under_another_key_is_not_plain() -> None:
    value = written((KINDS[0], TENANTS[1], TIMES[0], REFS[0], QUANTITIES[0]))
    home = partition_of(shard_key(CUSTOMERS[0]), 8)
    good = Entry(0, NOON, CUSTOMERS[0].encode(), value)
    assert decode_plain([good], Log(LOG.log_id, home, 8), None)
    for record, partition in ((good, home ^ 1), (Entry(0, NOON, b"another", value), home)):
        with pytest.raises(NotPlain):
            decode_plain([record], Log(LOG.log_id, partition, 8), None)
