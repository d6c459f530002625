"""What one gateway process holds in memory: idle, at the most it can do, and over a long load.

After the most, single events and batches go on at a modest rate while the memory is sampled. It is
flat when the slope over the later half (Theil and Sen's: the median of all pairs') would not add
more than 2 % in as long a time as was watched. The floor is a bare aiohttp process that has
answered the same load.
Run: `python -m benchmarks.gateway_memory [--minutes 30]`.
"""

import argparse
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from statistics import median

import msgspec

from benchmarks.open_loop import OpenFigures, OpenTask
from benchmarks.serving import (
    EVENT_PATH,
    EVENTS_PATH,
    OTHER_CORE,
    bare_handler,
    bodies_of,
    gateway,
    headers_of,
    measure,
    print_report,
    resident_mebibytes,
    run_sender,
)
from benchmarks.site import lifelike_events, pin, running_site
from deploy.local.ports import LOOPBACK, free_port

EVENTS = 20_000
EVENTS_A_REQUEST = 1_000
CONNECTIONS = 256
CONNECTIONS_MAX = 2_048
SINGLES_PER_SECOND = 200.0
BATCHES_PER_SECOND = 1.0
SAMPLES = 60
GROWTH_MAX = 0.02


def sample(pid: int, seconds: float) -> list[float]:
    """Look at the memory of a process at even distances."""
    found = []
    for _ in range(SAMPLES):
        time.sleep(seconds / SAMPLES)
        found.append(resident_mebibytes(pid))
    return found


def growth(samples: list[float]) -> float:
    """Return what the slope of the later half would add over all samples, in mebibytes."""
    later = list(enumerate(samples))[len(samples) // 2 :]
    slopes = [(b - a) / (j - i) for (i, a), (j, b) in combinations(later, 2)]
    return round(median(slopes) * len(samples), 2)


def load_for(
    port: int, pid: int, headers: list[str], events: list[bytes], seconds: float
) -> tuple[list[float], int, int]:
    """Send singles and batches for so long.

    Returns the samples, the events acknowledged, and those that may be in the log as well.
    """

    def send(path: str, bodies: list[str], per_second: float) -> OpenFigures:
        task = OpenTask(
            host=LOOPBACK, port=port, path=path, headers=headers, bodies=bodies,
            connections_max=CONNECTIONS_MAX, per_second=per_second, seconds=seconds,
        )  # fmt: skip
        return msgspec.json.decode(run_sender("open_loop", task), type=OpenFigures)

    with ThreadPoolExecutor() as threads:
        bodies = [event.decode() for event in events]
        singles = threads.submit(send, EVENT_PATH, bodies, SINGLES_PER_SECOND)
        batches = threads.submit(
            send, EVENTS_PATH, bodies_of(events, EVENTS_A_REQUEST), BATCHES_PER_SECOND
        )
        samples = sample(pid, seconds)
        of_singles, of_batches = singles.result(), batches.result()
    return (
        samples,
        of_singles.accepted + of_batches.accepted * EVENTS_A_REQUEST,
        _unsettled(of_singles) + _unsettled(of_batches) * EVENTS_A_REQUEST,
    )


def _unsettled(figures: OpenFigures) -> int:
    """Return the requests that were not accepted: what was answered 503 may be in the log."""
    return figures.given_up + figures.others


def main() -> None:
    """Measure the three, and print them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=2.0)
    minutes = parser.parse_args().minutes
    pin(OTHER_CORE)
    port = free_port()
    events = lifelike_events(EVENTS)
    bodies = [event.decode() for event in events]
    with bare_handler(port) as pid:
        measure(port, pid, [], bodies=bodies, connections=CONNECTIONS)
        floor = resident_mebibytes(pid)
    with running_site() as site:
        before = site.end_offsets()
        with gateway(site, port) as pid:
            idle = resident_mebibytes(pid)
            headers = headers_of(port)
            most, _ = measure(port, pid, headers, bodies=bodies, connections=CONNECTIONS)
            at_most = resident_mebibytes(pid)
            samples, accepted, unknown = load_for(port, pid, headers, events, minutes * 60)
        recorded = site.end_offsets() - before
    acknowledged = most.accepted + accepted
    assert acknowledged <= recorded <= acknowledged + unknown, (
        f"{acknowledged} acknowledged, {unknown} not, {recorded} in the log"
    )
    grown = growth(samples)
    print_report(
        {
            "benchmark": "gateway_memory",
            "mebibytes_idle": idle,
            "mebibytes_at_the_most": at_most,
            "most_per_second": most.requests_per_second,
            "minutes": minutes,
            "singles_per_second": SINGLES_PER_SECOND,
            "batches_per_second": BATCHES_PER_SECOND,
            "mebibytes_max": max(samples),
            "mebibytes_at_the_end": samples[-1],
            "growth_mebibytes": grown,
            "is_flat": abs(grown) <= GROWTH_MAX * samples[-1],
            "series_mebibytes": samples,
            "acknowledged": acknowledged,
            "not_acknowledged": unknown,
            "recorded": recorded,
            "floor_bare_aiohttp_mebibytes": floor,
        }
    )


if __name__ == "__main__":
    main()
