"""What may be read of a broker's answer."""

import pytest
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords

from rater.fetching import Answer, Batch, Committed

ONE, TWO = 7, 8


def a_batch(first_offset: int, values: list[bytes], producer: int | None = None) -> bytes:
    """Write a batch, of a transaction where it has a producer."""
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=4,
        is_transactional=producer is not None,
        producer_id=-1 if producer is None else producer,
        producer_epoch=0,
        base_sequence=0,
        batch_size=1 << 16,
    )
    for delta, value in enumerate(values):
        builder.append(delta, 1_700_000_000_000, b"k", value, [])
    written = builder.build()
    written[:8] = first_offset.to_bytes(8, "big")  # as the broker sets it, beside the checksum
    return bytes(written)


def batches_of(data: bytes) -> list[Batch]:
    records, found = MemoryRecords(data), []
    while records.has_next():
        found.append(records.next_batch())
    return found


def read(answer: Answer) -> list[tuple[list[tuple[int, bytes | None]], int]]:
    committed, found = Committed(answer), []
    while (batch := committed.next_batch()) is not None:
        records, behind = batch
        found.append(([(record.offset, record.value) for record in records], behind))
    return found


def test_batches_are_read_whole_and_aborted_ones_leave_a_gap() -> None:
    data = (
        a_batch(10, [b"a", b"b"])
        + a_batch(12, [b"c"], ONE)
        + a_batch(13, [b"d"], TWO)
        + a_batch(14, [b"e"], ONE)
    )
    plain, both = [(10, b"a"), (11, b"b")], ([(12, b"c")], 13)
    found = read(Answer(batches_of(data), (), 15))
    assert found == [(plain, 12), both, ([(13, b"d")], 14), ([(14, b"e")], 15)]
    # A transaction that is aborted from offset 13 on, and one from before this answer.
    found = read(Answer(batches_of(data), [(ONE, 13), (TWO, 4)], 15))
    assert found == [(plain, 12), both, ([], 14), ([], 15)]


def test_a_damaged_batch_is_refused() -> None:
    data = bytearray(a_batch(0, [b"a" * 100]))
    data[-1] ^= 1
    with pytest.raises(CorruptRecordException, match="at 0"):
        read(Answer(batches_of(bytes(data)), (), 1))
