"""Calls that are made together: in order, in the loop's next turn, each on its own."""

import asyncio
from typing import Any

from gateway.turns import Turn, call_all


async def test_the_calls_of_a_turn_are_made_in_the_next_one() -> None:
    turn, made = Turn(), list[int]()
    turn.add(lambda: made.append(1))
    turn.add(lambda: made.append(2))
    assert made == []
    await asyncio.sleep(0)
    assert made == [1, 2]


async def test_a_call_made_meanwhile_is_one_of_the_next_turn() -> None:
    turn, made = Turn(), list[int]()

    def add_another() -> None:
        made.append(1)
        turn.add(lambda: made.append(2))

    turn.add(add_another)
    await asyncio.sleep(0)
    assert made == [1]
    await asyncio.sleep(0)
    assert made == [1, 2]


async def test_a_call_that_fails_is_told_and_keeps_none_from_theirs() -> None:
    told, made = list[dict[str, Any]](), list[int]()
    loop = asyncio.get_running_loop()
    handler = loop.get_exception_handler()
    loop.set_exception_handler(lambda _loop, context: told.append(context))
    call_all([lambda: made.append(1), _fail, lambda: made.append(2)])
    loop.set_exception_handler(handler)
    assert made == [1, 2]
    assert [type(context["exception"]) for context in told] == [ZeroDivisionError]


def _fail() -> None:
    raise ZeroDivisionError
