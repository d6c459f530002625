"""Refs: Kafka's partitioning, the layout, determinism, and the months on both sides of a bound."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.partitioner import murmur2 as aiokafka_murmur2
from hypothesis import given
from hypothesis import strategies as st

from schemas import event_ref
from schemas.errors import InvalidInput

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TENANT = "0b0e0000-0000-4000-8000-000000000001"
CUSTOMER = "00000000-0000-4000-8000-000000000001"

refs = st.uuids().map(str)
months = st.integers(0, event_ref.MONTHS - 2)
shard_keys = st.integers(0, event_ref.SHARD_KEY_MASK)
tenants = st.integers(0, 31)
digests = st.integers(0, 2**80 - 1)


def micros(text: str) -> int:
    return (datetime.fromisoformat(text) - EPOCH) // timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("data", "signed"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_murmur2_gives_the_vectors_of_kafkas_java_client(data: bytes, signed: int) -> None:
    assert event_ref.murmur2(data) == signed & 0xFFFF_FFFF


@given(st.binary(max_size=80))
def test_murmur2_equals_the_one_of_a_standard_client(data: bytes) -> None:
    assert event_ref.murmur2(data) == aiokafka_murmur2(data)


@given(refs, st.integers(1, 1000))
def test_a_customers_partition_is_the_one_that_standard_producers_choose(
    customer: str, partitions: int
) -> None:
    everything = list(range(partitions))
    chosen = DefaultPartitioner()(customer.encode(), everything, everything)
    assert event_ref.partition_of(event_ref.shard_key(customer), partitions) == chosen


@given(months, shard_keys, tenants, digests)
def test_a_ref_is_written_in_one_way(month: int, shard: int, tenant: int, digest: int) -> None:
    ref = event_ref.keyed_event_ref(month, shard, tenant, digest)
    written = event_ref.keyed_event_ref_text(month, shard, tenant, digest)
    assert written == event_ref.ref_text(ref) == str(UUID(int=ref))


@given(months, shard_keys, tenants, digests)
def test_a_ref_holds_its_parts_where_the_layout_says(
    month: int, shard_key: int, tenant: int, digest: int
) -> None:
    ref = event_ref.keyed_event_ref(month, shard_key, tenant, digest)
    value = UUID(int=ref)
    assert value.version == 8
    assert value.variant == "specified in RFC 4122"
    assert ref >> 80 == month << 36 | shard_key << 5 | tenant
    assert ref >> 64 & 0xFFF == digest >> 64 & 0xFFF
    assert ref & (1 << 62) - 1 == digest & (1 << 62) - 1
    assert event_ref.month_of(ref) == month
    assert event_ref.shard_key_of(ref) == shard_key
    assert event_ref.ref_text(ref) == str(value)


@given(months, shard_keys, tenants, digests)
def test_every_ref_lies_within_the_bounds_of_its_month(
    month: int, shard_key: int, tenant: int, digest: int
) -> None:
    low, high = event_ref.month_bounds(month)
    assert low <= UUID(int=event_ref.keyed_event_ref(month, shard_key, tenant, digest)) < high


@given(months, months, shard_keys, tenants, digests)
def test_a_ref_moved_to_another_month_keeps_the_rest(
    month: int, other: int, shard_key: int, tenant: int, digest: int
) -> None:
    ref = event_ref.keyed_event_ref(month, shard_key, tenant, digest)
    moved = event_ref.keyed_event_ref(other, shard_key, tenant, digest)
    assert event_ref.with_month(ref, other) == moved


def test_refs_stay_the_same_over_releases() -> None:
    shard_key = event_ref.shard_key(CUSTOMER)
    tenant = event_ref.tenant_bits(TENANT)
    keyed = event_ref.key_digest(TENANT, CUSTOMER, "order-1")
    placed = event_ref.place_digest(TENANT, 3, 918)
    found = [
        event_ref.ref_text(event_ref.keyed_event_ref(290, shard_key, tenant, keyed)),
        event_ref.ref_text(event_ref.keyed_event_ref(290, shard_key, tenant, placed)),
        str(event_ref.derived_ref("contract", 290, shard_key, tenant, CUSTOMER, 1)),
    ]
    assert found == [
        "122ad35a-7fdf-80f1-aaa0-ed22cb0d6c39",
        "122ad35a-7fdf-81ff-bd44-541b0128eff0",
        "122ad35a-7fdf-8a76-9530-4c6a70759a37",
    ]


@given(refs, refs, st.text(max_size=255), refs, st.text(max_size=255))
def test_other_fields_make_another_digest(
    tenant: str, customer: str, key: str, other_customer: str, other_key: str
) -> None:
    digest = event_ref.key_digest(tenant, customer, key)
    other = event_ref.key_digest(tenant, other_customer, other_key)
    assert digest < 2**80
    assert (digest == other) == ((customer, key) == (other_customer, other_key))


def test_fields_are_never_run_together() -> None:
    one = event_ref.derived_ref("charge", 1, 2, 3, "ab", "c")
    assert one != event_ref.derived_ref("charge", 1, 2, 3, "a", "bc")
    assert one != event_ref.derived_ref("charge", 1, 2, 3, "abc")
    assert one != event_ref.derived_ref("period", 1, 2, 3, "ab", "c")
    assert event_ref.place_digest("x", 1, 23) != event_ref.place_digest("x", 12, 3)


@pytest.mark.parametrize(
    ("text", "month"),
    [
        ("2000-01-01T00:00:00Z", 0),
        ("2000-01-31T23:59:59.999999Z", 0),
        ("2000-02-01T00:00:00Z", 1),
        ("2024-03-01T00:30:00+01:00", 289),
        ("2024-03-01T00:00:00Z", 290),
        ("2341-04-30T23:59:59Z", 4095),
    ],
)
def test_a_month_is_counted_in_utc_from_january_2000(text: str, month: int) -> None:
    assert event_ref.month_index(micros(text)) == month


@given(st.datetimes(datetime(2000, 1, 1), datetime(2341, 4, 30)))  # noqa: DTZ001 - naive by design
def test_the_month_is_the_calendars(naive: datetime) -> None:
    instant = naive.replace(tzinfo=UTC)
    month = event_ref.month_index((instant - EPOCH) // timedelta(microseconds=1))
    assert month == (instant.year - 2000) * 12 + instant.month - 1


@pytest.mark.parametrize(
    ("text", "neighbour"),
    [
        ("2000-01-01T00:00:00Z", None),
        ("2024-03-01T00:00:00Z", 289),
        ("2024-03-04T00:00:00Z", 289),
        ("2024-03-04T00:00:00.000001Z", None),
        ("2024-03-15T12:00:00Z", None),
        ("2024-03-28T23:59:59.999999Z", None),
        ("2024-03-29T00:00:00Z", 291),
        ("2024-03-31T23:59:59.999999Z", 291),
    ],
)
def test_an_instant_within_three_days_of_a_bound_has_a_neighbour_month(
    text: str, neighbour: int | None
) -> None:
    assert event_ref.neighbour_month(micros(text)) == neighbour


@given(
    st.integers(micros("2000-01-04T00:00:00Z"), micros("2340-01-01T00:00:00Z")),
    st.integers(0, 3 * 86_400_000_000),
)
def test_two_stamps_three_days_apart_always_find_each_other(first: int, later: int) -> None:
    second = first + later
    one, other = event_ref.month_index(first), event_ref.month_index(second)
    if one != other:
        assert event_ref.neighbour_month(first) == other
        assert event_ref.neighbour_month(second) == one


def test_a_ref_is_taken_in_either_case_and_written_in_lower() -> None:
    assert event_ref.canonical_ref("0B0E0000-0000-4000-8000-00000000000F").endswith("f")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0b0e0000",
        CUSTOMER + "\n",
        "{" + CUSTOMER + "}",
        CUSTOMER.replace("-", ""),
        "\u0660" * 36,
    ],
)
def test_anything_else_is_no_ref(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        event_ref.canonical_ref(text)
    assert caught.value.code == "ref_malformed"
