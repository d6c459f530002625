"""Where a dead letter goes when it is sent again, and the header that names its first place."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.event_ref import SHARD_KEY_MASK, murmur2, partition_of, shard_key
from schemas.retrying import Origin, decode_origin, encode_origin, home_of

CUSTOMER = "0e6f5a52-5f0e-4a8c-9d0a-7f1f4b7c1a11"
PARTITIONS = 12
PLACE = Origin(7, 4711)


@given(st.integers(0, 4_095), st.integers(0, 10**18 - 1))
def test_a_place_reads_back(partition: int, offset: int) -> None:
    origin = Origin(partition, offset)
    assert decode_origin(encode_origin(origin)) == origin


@pytest.mark.parametrize(
    "value",
    [b"", b"1", b"1,", b",1", b"-1,1", b"1,1,1", b" 1,1", b"1,1\n", b"12345,1", "²,1".encode()],
)
def test_any_other_header_names_no_place(value: bytes) -> None:
    assert decode_origin(value) is None


@pytest.mark.parametrize("key", [None, b"", CUSTOMER.upper().encode(), b"another"])
def test_a_record_goes_home_to_its_customer_whatever_its_key_was(key: bytes | None) -> None:
    value = b'{"v": 1, "customer_ref": "%b", "quantity": "x"}' % CUSTOMER.upper().encode()
    home = partition_of(shard_key(CUSTOMER), PARTITIONS)
    assert home_of(key, value, PLACE, PARTITIONS) == (CUSTOMER.encode(), home)


@pytest.mark.parametrize(
    "value", [None, b"", b"\xff", b"[]", b'{"customer_ref": "x"}', b"[" * 9_999]
)
def test_a_record_that_names_no_customer_keeps_its_key(value: bytes | None) -> None:
    by_key = partition_of(murmur2(b"k") & SHARD_KEY_MASK, PARTITIONS)
    assert home_of(b"k", value, PLACE, PARTITIONS) == (b"k", by_key)
    assert home_of(None, value, PLACE, PARTITIONS) == (None, PLACE.partition)
