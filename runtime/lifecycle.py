"""A service's life: run until SIGINT or SIGTERM, then stop in order."""

import asyncio
import resource
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

import uvloop

from runtime.memory import bound_what_stays


def run_service(main: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> None:
    """Run `main(stopping)` on uvloop; `stopping` is set at the first SIGINT or SIGTERM.

    `main` finishes its work in hand and returns. A second signal cancels it.
    """
    bound_what_stays()
    use_all_files()
    uvloop.run(_with_signals(main))


def use_all_files() -> None:
    """Open as many files and connections as the system allows.

    The lower limit that processes start with, often 1,024, is for programs that use `select`.
    """
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with suppress(ValueError, OSError):  # macOS has a lower limit that it does not tell of
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, allowed))


async def _with_signals(main: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> None:
    stopping = asyncio.Event()
    task = asyncio.current_task()
    assert task is not None

    def stop() -> None:
        if stopping.is_set():
            task.cancel()
        stopping.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    await main(stopping)


async def wait_for(event: asyncio.Event, seconds: float) -> bool:
    """Wait until the event is set, at most so long; say whether it is."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return event.is_set()
    return True


@asynccontextmanager
async def bounded(
    seconds: float, stopping: asyncio.Event, stop_seconds: float
) -> AsyncIterator[None]:
    """Let the block take so long at most, and less once the process is told to stop.

    stop_seconds: how much of its time it then keeps. Raises TimeoutError.
    """
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(seconds) as bound:

        async def hurry() -> None:
            await stopping.wait()
            end = bound.when()
            if end is not None and not bound.expired():
                bound.reschedule(min(end, loop.time() + stop_seconds))

        hurrying = asyncio.create_task(hurry())
        try:
            yield
        finally:
            hurrying.cancel()
