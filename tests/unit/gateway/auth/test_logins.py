"""Passwords are checked off the loop: it does next to nothing meanwhile."""

import asyncio
from time import process_time, thread_time

import pytest

from gateway.auth.logins import Logins
from gateway.auth.throttle import Throttle
from runtime.clock import system_clock
from schemas.errors import NotAllowed

LOGINS = 4


async def nothing(*_: object) -> dict[bytes, object]:
    return {}


async def test_many_logins_at_once_leave_the_loop_free(monkeypatch: pytest.MonkeyPatch) -> None:
    for step in ("admit", "fail"):
        monkeypatch.setattr(Throttle, step, nothing)
    logins = Logins(None, system_clock)  # type: ignore[arg-type]  # the throttle alone would ask it
    await logins.start()
    whole, own = process_time(), thread_time()
    tries = [logins.check("nobody", (), "x", address="203.0.113.9") for _ in range(LOGINS)]
    ends = await asyncio.gather(*tries, return_exceptions=True)
    whole, own = process_time() - whole, thread_time() - own
    assert [type(end) for end in ends] == [NotAllowed] * LOGINS
    assert own < whole / 5, "hashing is nearly all there is to do"
