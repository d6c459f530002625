"""Batches: who shares one, how it ends, and that nobody who leaves takes it along."""

import asyncio
from typing import Any

import pytest
from aiokafka.producer.message_accumulator import BatchBuilder

from gateway.ingest.batching import (
    NOT_SENT,
    UNKNOWN,
    Batch,
    Lane,
    Patience,
    ProducerBroken,
    Settlement,
)

BATCH_BYTES = 1_000
ZSTD = 4
ACKNOWLEDGED = Settlement(918, may_be_recorded=True)


def builder() -> BatchBuilder:
    return BatchBuilder(BATCH_BYTES, ZSTD)


def lane() -> Lane:
    made = Lane("usage", 0, deadline_seconds=60, patience_seconds=5)
    made._make_builder = builder
    return made


async def test_records_of_a_partition_share_a_batch_until_it_is_full() -> None:
    filled = lane()
    places = [filled.add(b"key", b"v" * 100) for _ in range(25)]
    batches = list(dict.fromkeys(batch for batch, _ in places))
    assert len(batches) > 2
    for batch in batches:
        indexes = [index for of, index in places if of is batch]
        assert indexes == list(range(batch.count))
    assert [filled._take() for _ in batches] == batches, "in the order they were filled"
    assert filled._take() is None
    for batch in batches:
        batch.settle(ACKNOWLEDGED)


async def test_many_records_lie_where_they_would_lie_one_by_one() -> None:
    one_by_one, together = lane(), lane()
    records = [(b"key", b"v" * size) for size in (100, 5_000, 1, *[90] * 25)]
    expected = [(batch.count, index) for batch, index in (one_by_one.add(*r) for r in records)]
    found = []
    for batch, first, count in together.add_all(records[:10]) + together.add_all(records[10:]):
        found += [(index + 1, index) for index in range(first, first + count)]
        assert batch.builder.record_count() == batch.count  # type: ignore[attr-defined]
    assert found == expected
    for filled in (one_by_one, together):
        while (left := filled._take()) is not None:
            left.settle(ACKNOWLEDGED)


async def test_a_record_larger_than_a_batch_has_one_of_its_own() -> None:
    filled = lane()
    first, _ = filled.add(b"key", b"v")
    large, index = filled.add(b"key", b"v" * 5_000)
    after, _ = filled.add(b"key", b"v")
    assert index == 0
    assert len({first, large, after}) == 3
    for batch in (first, large, after):
        batch.settle(ACKNOWLEDGED)


async def test_all_who_have_an_event_in_a_batch_are_told_once_and_in_order() -> None:
    batch = Batch(builder(), 60)
    told: list[tuple[int, int | None]] = []
    for number in range(3):
        batch.when_settled(lambda number=number: told.append((number, batch.base_offset)))  # type: ignore[misc]
    batch.settle(ACKNOWLEDGED)
    await asyncio.sleep(0)
    assert told == [(0, 918), (1, 918), (2, 918)]
    batch.when_settled(lambda: told.append((3, batch.base_offset)))
    await asyncio.sleep(0)
    assert told[3:] == [(3, 918)], "who comes late is told, too"


async def test_one_who_leaves_does_not_take_the_batch_along() -> None:
    batch = Batch(builder(), deadline_seconds=60)

    async def wait() -> Settlement:
        return await batch.settled

    stays, leaves = asyncio.create_task(wait()), asyncio.create_task(wait())
    await asyncio.sleep(0)
    leaves.cancel()
    await asyncio.sleep(0)
    assert not batch.settled.done()
    batch.settle(ACKNOWLEDGED)
    assert await stays == ACKNOWLEDGED
    with pytest.raises(asyncio.CancelledError):
        await leaves


@pytest.mark.parametrize(("is_handed_over", "outcome"), [(True, UNKNOWN), (False, NOT_SENT)])
async def test_past_its_deadline_a_batch_says_what_is_known(
    is_handed_over: bool,
    outcome: Settlement,
) -> None:
    batch = Batch(builder(), deadline_seconds=0)
    batch.is_handed_over = is_handed_over
    assert await batch.settled == outcome
    batch.settle(ACKNOWLEDGED)
    assert batch.settled.result() == outcome, "an acknowledgement that comes later changes nothing"


class SilentProducer:
    """Takes batches and says nothing more of them."""

    def __init__(self) -> None:
        self.taken = asyncio.Event()

    def create_batch(self) -> BatchBuilder:
        return builder()

    async def send_batch(self, _batch: object, _topic: str, *, partition: int) -> Any:  # noqa: ANN401
        self.taken.set()
        return asyncio.get_running_loop().create_future()


async def test_a_producer_that_never_answers_is_given_up() -> None:
    silent = SilentProducer()
    waits = Lane("usage", 3, deadline_seconds=0.02, patience_seconds=0.02)
    running = asyncio.create_task(waits.run(silent))
    await asyncio.sleep(0)
    batch, _ = waits.add(b"key", b"value")
    with pytest.raises(ProducerBroken, match="partition 3: Kafka does not answer"):
        await running
    assert batch.settled.result() == UNKNOWN
    assert waits.is_idle()


async def test_a_lane_that_is_cancelled_is_cancelled_and_not_broken() -> None:
    silent = SilentProducer()
    waits = lane()
    running = asyncio.create_task(waits.run(silent))
    await asyncio.sleep(0)
    batch, _ = waits.add(b"key", b"value")
    await silent.taken.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert batch.settled.result() == UNKNOWN


async def test_patience_is_with_each_wait_and_not_with_all_together() -> None:
    patience = Patience(0.05)
    try:
        for _ in range(4):
            patience.begin()
            await asyncio.sleep(0.02)
            patience.end()
        patience.begin()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.Event().wait()
        assert patience.has_run_out()
        patience.end()
    finally:
        patience.stop()
