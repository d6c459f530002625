"""A worker that is told to stop does so, whatever it waits for."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from rater import consumer
from rater.arrivals import Log, Record
from rater.consumer import PartitionWorker
from rater.settings import RaterSettings
from runtime.settings import load

SETTINGS = load(RaterSettings, "rater", {"METERLINE_KAFKA": "k:1", "METERLINE_POSTGRES": "p"})


class Failing(PartitionWorker):
    """A worker that can never open its partition."""

    def __init__(self) -> None:
        super().__init__(None, SETTINGS, 0)  # type: ignore[arg-type]  # it never comes to use it
        self.has_failed = asyncio.Event()

    async def _run_once(self) -> None:
        self.has_failed.set()
        raise ConnectionError


async def test_a_worker_that_pauses_after_a_failure_is_woken_by_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(consumer, "RETRY_SECONDS", (3_600.0, 3_600.0))
    worker = Failing()
    running = asyncio.create_task(worker.run())
    await worker.has_failed.wait()
    worker.stop()
    await asyncio.wait_for(running, 60)


class Trickle:
    """A log that grows by one offset without a record at each look."""

    is_behind = False

    def __init__(self) -> None:
        self.end = 0

    async def read(self, count_max: int, _seconds: float) -> tuple[list[Record], int]:
        await asyncio.sleep(0)
        self.end += min(count_max, 1)
        return [], self.end


async def test_a_poll_gathers_while_the_one_before_it_is_saved_up_to_its_bound() -> None:
    reader = Trickle()
    owner: Any = SimpleNamespace(
        reader=reader,
        memory=SimpleNamespace(tenants={"t": None}, sole_tenant=None),
        state=SimpleNamespace(log=Log("log", 0, 1)),
    )
    worker = Failing()
    assert (await worker._read(owner, 0)).next_offset == 1
    worker._is_saving = True
    reading = asyncio.create_task(worker._read(owner, 1))
    while reader.end < 100:
        assert not reading.done()
        await asyncio.sleep(0)
    worker._is_saving = False
    poll = await reading
    assert poll.next_offset == reader.end >= 100
    assert poll.skipped == [(1, reader.end)]
    worker._is_saving = True
    first = reader.end
    reader.end = first + SETTINGS.poll_records_max - 1
    assert (await worker._read(owner, first)).next_offset == first + SETTINGS.poll_records_max
