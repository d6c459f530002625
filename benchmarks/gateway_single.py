"""Acknowledged single events a second through one gateway process, beside a bare aiohttp handler.

The fast lane, aiohttp's lane and the bare handler run side by side on one core, and are loaded by
turns of a second or two: what else the machine does changes within seconds, and meets all three
alike. The shares are the middle ones of many rounds. Kafka and the load have the other core.
Every 202 is counted against the log.
Run: `python -m benchmarks.gateway_single [--share 0.25]`; with a share, each server is held to that
part of a core, so that a machine which has other work too measures all of them alike.
"""

import argparse
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from statistics import median, median_low
from typing import NamedTuple

import msgspec

from benchmarks.load import Figures
from benchmarks.serving import (
    OTHER_CORE,
    bare_handler,
    gateway,
    headers_of,
    measure,
    print_report,
    resident_mebibytes,
)
from benchmarks.site import Site, events, pin, running_site
from benchmarks.throttle import held_to
from deploy.local.ports import free_port

CONNECTIONS = 256
EVENTS = 20_000
ROUNDS = 15
SECONDS = 1.5
WARM_UP_SECONDS = 0.5


class Lane(NamedTuple):
    """A server that is measured. has_log: what it takes is in the log."""

    port: int
    pid: int
    headers: list[str]
    has_log: bool
    idle: float


class Measured(NamedTuple):
    """One turn of a server. microseconds: of its CPU, a request."""

    figures: Figures
    microseconds: float
    recorded: int


def held(pid: int, share: float | None) -> AbstractContextManager[object]:
    """Hold a server to a share of a core, if there is one."""
    return nullcontext() if share is None else held_to(pid, share)


@contextmanager
def lane_of(site: Site, share: float | None, *, fast_lane: bool) -> Iterator[Lane]:
    """Run a gateway."""
    port = free_port()
    with gateway(site, port, fast_lane=fast_lane) as pid, held(pid, share):
        yield Lane(port, pid, headers_of(port), True, resident_mebibytes(pid))


@contextmanager
def ceiling_of(share: float | None) -> Iterator[Lane]:
    """Run the bare handler."""
    port = free_port()
    with bare_handler(port) as pid, held(pid, share):
        yield Lane(port, pid, [], False, resident_mebibytes(pid))


def measure_turn(site: Site, lane: Lane, bodies: list[str]) -> Measured:
    """Load one server. Every answer is a 202, and each of a gateway's is in the log."""
    before = site.end_offsets()
    figures, microseconds = measure(
        lane.port,
        lane.pid,
        lane.headers,
        bodies=bodies,
        connections=CONNECTIONS,
        seconds=SECONDS,
        warm_up_seconds=WARM_UP_SECONDS,
    )
    recorded = site.end_offsets() - before
    expected = figures.accepted if lane.has_log else 0
    assert figures.others == 0, f"{figures.others} answers were not 202"
    assert recorded == expected, f"{expected} acknowledged, {recorded} in the log"
    return Measured(figures, microseconds, recorded)


def middle(lane: Lane, turns: list[Measured]) -> dict[str, object]:
    """Return a server's turn of the middle rate."""
    rate = [turn.figures.requests_per_second for turn in turns]
    turn = turns[rate.index(median_low(rate))]
    return {
        **msgspec.to_builtins(turn.figures),
        "recorded": turn.recorded,
        "cpu_microseconds": turn.microseconds,
        "mebibytes_idle": lane.idle,
        "mebibytes_loaded": resident_mebibytes(lane.pid),
    }


def shares(turns: list[Measured], ceilings: list[Measured]) -> list[float]:
    """Return the rates of a server as parts of the ceiling's, round by round."""
    return [
        round(turn.figures.requests_per_second / ceiling.figures.requests_per_second, 3)
        for turn, ceiling in zip(turns, ceilings, strict=True)
    ]


def main() -> None:
    """Measure both lanes of the gateway and their ceiling by turns."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--share", type=float, help="the part of a core that a server gets")
    share = parser.parse_args().share
    pin(OTHER_CORE)
    bodies = [event.decode() for event in events(EVENTS)]
    with (
        running_site() as site,
        ceiling_of(share) as bare,
        lane_of(site, share, fast_lane=True) as fast,
        lane_of(site, share, fast_lane=False) as aiohttp,
    ):
        lanes = (bare, fast, aiohttp)
        for lane in lanes:
            measure_turn(site, lane, bodies)  # warms up
        rounds = [[measure_turn(site, lane, bodies) for lane in lanes] for _ in range(ROUNDS)]
        of_bare, of_fast, of_aiohttp = (list(turns) for turns in zip(*rounds, strict=True))
        print_report(
            {
                "benchmark": "gateway_single",
                "connections": CONNECTIONS,
                "share_of_a_core": share or 1.0,
                "fast_lane": middle(fast, of_fast),
                "aiohttp_lane": middle(aiohttp, of_aiohttp),
                "ceiling_bare_aiohttp": middle(bare, of_bare),
                "share_of_ceiling": median(shares(of_fast, of_bare)),
                "share_of_ceiling_aiohttp_lane": median(shares(of_aiohttp, of_bare)),
                "shares_of_rounds": [shares(of_fast, of_bare), shares(of_aiohttp, of_bare)],
            }
        )


if __name__ == "__main__":
    main()
