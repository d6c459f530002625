"""The bytes in flight have a bound, and one tenant has a share of it."""

import asyncio

import pytest

from gateway.ingest.budget import LARGE_BYTES, Budget
from schemas.errors import TransientError


def test_a_tenant_holds_its_share_and_no_more() -> None:
    budget = Budget(100, 0.5)
    budget.take(1, 50)
    with pytest.raises(TransientError) as caught:
        budget.take(1, 1)
    assert caught.value.code == "tenant_over_share"
    budget.take(2, 50)
    with pytest.raises(TransientError) as caught:
        budget.take(3, 1)
    assert caught.value.code == "too_much_in_flight"


def test_what_is_given_back_can_be_taken_again() -> None:
    budget = Budget(100, 1)
    for _ in range(10):
        budget.take(1, 60)
        budget.take(2, 40)
        budget.give_back(1, 60)
        budget.give_back(2, 40)
    assert budget.held == 0


def test_a_refusal_holds_nothing() -> None:
    budget = Budget(100, 0.5)
    with pytest.raises(TransientError):
        budget.take(1, 101)
    with pytest.raises(TransientError):
        budget.take(1, 51)
    assert budget.held == 0


async def test_large_bodies_are_read_one_after_another_and_small_ones_when_they_come() -> None:
    budget = Budget(100, 1.0)
    under_way: list[int] = []

    async def read(size: int) -> None:
        async with budget.turn_of(size):
            under_way.append(size)
            most.append(sum(one >= LARGE_BYTES for one in under_way))
            await asyncio.sleep(0)
            under_way.remove(size)

    most: list[int] = []
    await asyncio.gather(*[read(size) for size in [LARGE_BYTES, LARGE_BYTES + 1, 10] * 3])
    assert max(most) == 1
    assert len(most) == 9
