"""A worker that is told to stop does so, whatever it waits for."""

import asyncio

import pytest

from rater import consumer
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
