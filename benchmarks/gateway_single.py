"""Acknowledged single events a second through one gateway process, beside a bare aiohttp handler.

Measured with the fast lane and without, in rounds; the shares are the middle ones. The server has
one core, Kafka and the load the other.
Every 202 is counted against the log.
Run: `python -m benchmarks.gateway_single [--share 0.25]`; with a share, each server is held to that
part of a core, so that a machine which has other work too measures all of them alike.
"""

import argparse
from contextlib import AbstractContextManager, nullcontext
from statistics import median

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
ROUNDS = 5
"""Each measures all three: what else the machine does changes within seconds."""
SECONDS = 4.0


def held(pid: int, share: float | None) -> AbstractContextManager[object]:
    """Hold a server to a share of a core, if there is one."""
    return nullcontext() if share is None else held_to(pid, share)


def measure_gateway(
    site: Site, port: int, bodies: list[str], fast_lane: bool, share: float | None
) -> dict[str, object]:
    """Measure one lane of the gateway. Every answer is a 202, and each of them is in the log."""
    before = site.end_offsets()
    with gateway(site, port, fast_lane=fast_lane) as pid, held(pid, share):
        headers = headers_of(port)
        idle = resident_mebibytes(pid)
        figures, microseconds = measure(
            port, pid, headers, bodies=bodies, connections=CONNECTIONS, seconds=SECONDS
        )
        loaded = resident_mebibytes(pid)
    recorded = site.end_offsets() - before
    assert figures.others == 0, f"{figures.others} answers were not 202"
    assert recorded == figures.accepted, f"{figures.accepted} acknowledged, {recorded} in the log"
    return {
        **msgspec.to_builtins(figures),
        "recorded": recorded,
        "cpu_microseconds": microseconds,
        "mebibytes_idle": idle,
        "mebibytes_loaded": loaded,
    }


def main() -> None:
    """Measure both lanes of the gateway and their ceiling by turns, and print the middle round."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--share", type=float, help="the part of a core that a server gets")
    share = parser.parse_args().share
    pin(OTHER_CORE)
    port = free_port()
    bodies = [event.decode() for event in events(EVENTS)]
    with running_site() as site:
        rounds = [measure_round(site, port, bodies, share) for _ in range(ROUNDS)]
    shares = [[part_of(lane, ceiling) for lane in lanes] for ceiling, _, *lanes in rounds]
    by_share = sorted(range(ROUNDS), key=lambda at: shares[at][0])
    ceiling, ceiling_cpu, fast, aiohttp = rounds[by_share[ROUNDS // 2]]
    print_report(
        {
            "benchmark": "gateway_single",
            "connections": CONNECTIONS,
            "share_of_a_core": share or 1.0,
            "fast_lane": fast,
            "aiohttp_lane": aiohttp,
            "ceiling_bare_aiohttp": ceiling,
            "ceiling_cpu_microseconds": ceiling_cpu,
            "share_of_ceiling": median(of_fast for of_fast, _ in shares),
            "share_of_ceiling_aiohttp_lane": median(of_aiohttp for _, of_aiohttp in shares),
            "shares_of_rounds": shares,
        }
    )


Round = tuple[Figures, float, dict[str, object], dict[str, object]]
"""The ceiling, its microseconds of CPU, the fast lane and the other."""


def measure_round(site: Site, port: int, bodies: list[str], share: float | None) -> Round:
    """Measure the ceiling and both lanes right behind each other."""
    with bare_handler(port) as pid, held(pid, share):
        ceiling, ceiling_cpu = measure(
            port, pid, [], bodies=bodies, connections=CONNECTIONS, seconds=SECONDS
        )
    fast = measure_gateway(site, port, bodies, True, share)
    aiohttp = measure_gateway(site, port, bodies, False, share)
    return ceiling, ceiling_cpu, fast, aiohttp


def part_of(figures: dict[str, object], ceiling: Figures) -> float:
    """Return a rate as a part of the ceiling's."""
    return round(float(str(figures["requests_per_second"])) / ceiling.requests_per_second, 3)


if __name__ == "__main__":
    main()
