"""Batches are compressed by the kept compressor, and read back as what was put in."""

import pytest
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from hypothesis import given
from hypothesis import strategies as st

from gateway.ingest.batch_compression import compress, use_own_compressor

BATCH_BYTES = 64 * 1024
HEAD_BYTES = 61
NONE, ZSTD = 0, 4

Records = list[tuple[bytes, bytes]]


@pytest.fixture(autouse=True, scope="module")
def own_compressor() -> None:
    use_own_compressor()


def written(records: Records, compression: int) -> bytes:
    builder = BatchBuilder(BATCH_BYTES, compression)
    for key, value in records:
        assert builder.append(timestamp=0, key=key, value=value) is not None
    builder.close()
    builder._build()
    return bytes(builder._buffer)


def read(batch: bytes) -> Records:
    records = MemoryRecords(batch).next_batch()
    assert records is not None
    assert records.validate_crc()
    return [(record.key, record.value) for record in records]


@given(st.lists(st.tuples(st.binary(max_size=40), st.binary(max_size=500)), min_size=1))
def test_a_batch_reads_back_as_what_was_put_in(records: Records) -> None:
    assert read(written(records, ZSTD)) == records


def test_it_is_the_kept_compressor_that_compresses() -> None:
    records = [(b"customer", b'{"quantity":%d}' % number) for number in range(100)]
    plain, compressed = written(records, NONE), written(records, ZSTD)
    assert compressed[HEAD_BYTES:] == compress(plain[HEAD_BYTES:])
    assert len(compressed) < len(plain) / 4
