"""Bytes that Kafka keeps of an event, zstd and all, as single events and as batches come.

The events are lifelike: random keys, data of their own. The floor is the same records in batches
as full as they get, by aiokafka's bare `send_batch`. What lies on the broker's disk is counted.
Run: `python -m benchmarks.gateway_bytes`.
"""

from collections.abc import Callable

import msgspec
import uvloop

from benchmarks.publisher import records_of, through_send_batch
from benchmarks.serving import (
    EVENT_PATH,
    EVENTS_PATH,
    OTHER_CORE,
    bodies_of,
    gateway,
    headers_of,
    measure,
    print_report,
)
from benchmarks.site import Site, lifelike_events, pin, running_site
from deploy.local.ports import free_port

EVENTS = 100_000
EVENTS_A_REQUEST = 1_000
SECONDS = 4.0


class Kept(msgspec.Struct, frozen=True):
    """What the log has grown by."""

    events: int
    bytes_an_event: float


def grown(site: Site, write: Callable[[], int]) -> Kept:
    """Write events; return what the log keeps of them. write: tells how many were acknowledged."""
    events, size = site.end_offsets(), site.log_bytes()
    acknowledged = write()
    events, size = site.end_offsets() - events, site.log_bytes() - size
    assert events == acknowledged, f"{acknowledged} acknowledged, {events} in the log"
    return Kept(events, round(size / events, 1))


def main() -> None:
    """Measure what is kept of each kind of traffic, and print it."""
    pin(OTHER_CORE)
    port = free_port()
    events = lifelike_events(EVENTS)
    singles = [event.decode() for event in events]
    batches = bodies_of(events, EVENTS_A_REQUEST)

    with running_site() as site:

        def bare() -> int:
            workload = records_of(site.tenant_ref, events)
            uvloop.run(through_send_batch(site.servers.kafka, workload))
            return len(workload)

        floor = grown(site, bare)
        with gateway(site, port) as pid:
            headers = headers_of(port)

            def send(bodies: list[str], path: str, connections: int, each: int) -> int:
                figures, _ = measure(
                    port, pid, headers,
                    bodies=bodies, path=path, connections=connections, seconds=SECONDS,
                )  # fmt: skip
                assert figures.others == 0, f"{figures.others} answers were not 202"
                return figures.accepted * each

            kept = {
                "singles_16_connections": grown(site, lambda: send(singles, EVENT_PATH, 16, 1)),
                "singles_256_connections": grown(site, lambda: send(singles, EVENT_PATH, 256, 1)),
                "batches_1_connection": grown(
                    site, lambda: send(batches, EVENTS_PATH, 1, EVENTS_A_REQUEST)
                ),
                "batches_8_connections": grown(
                    site, lambda: send(batches, EVENTS_PATH, 8, EVENTS_A_REQUEST)
                ),
            }
    print_report(
        {
            "benchmark": "gateway_bytes",
            "bytes_an_event_as_sent": round(sum(map(len, events)) / len(events), 1),
            "events_a_request": EVENTS_A_REQUEST,
            **kept,
            "floor_bare_send_batch": floor,
        }
    )


if __name__ == "__main__":
    main()
