"""An invoicer that stops does not wait for the rest of its group, nor for a stalled broker."""

import asyncio

import pytest

from invoicer import consumer


class Stuck:
    """A consumer whose group is in the midst of a rebalance. closed: its parts that were closed."""

    def __init__(self) -> None:
        self.closed: list[str] = []
        self._fetcher = Part("fetcher", self.closed)
        self._client = Part("client", self.closed)

    async def stop(self) -> None:
        await asyncio.Event().wait()


class Part:
    def __init__(self, name: str, closed: list[str]) -> None:
        self.name = name
        self.closed = closed

    async def close(self) -> None:
        self.closed.append(self.name)


async def test_a_group_that_can_not_be_left_in_time_is_left_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(consumer, "LEAVE_SECONDS_MAX", 0.01)
    stuck = Stuck()
    await asyncio.wait_for(consumer._close(stuck), 60)
    assert stuck.closed == ["fetcher", "client"]
