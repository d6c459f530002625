"""Acknowledged events a second in requests of 1,000, beside aiokafka's bare `send_batch`.

The ceiling appends the same events to batches, compresses and sends them, in a loop on the core
that the gateway has afterwards; Kafka and the load have the other. Every event of every 202 is
counted against the log.
Run: `python -m benchmarks.gateway_batches`.
"""

import uvloop

from benchmarks.publisher import best_rate, records, through_send_batch
from benchmarks.serving import (
    EVENTS_PATH,
    OTHER_CORE,
    SERVER_CORE,
    bodies_of,
    gateway,
    headers_of,
    measure,
    print_report,
    resident_mebibytes,
)
from benchmarks.site import Site, events, pin, running_site
from deploy.local.ports import free_port

EVENTS_A_REQUEST = 1_000
REQUESTS = 100
CONNECTIONS = 8


def ceiling_of(site: Site) -> float:
    """Measure the bare producer on the gateway's core, in events a second."""
    pin(SERVER_CORE)
    try:
        return uvloop.run(best_rate(site, through_send_batch, records(site.tenant_ref)))
    finally:
        pin(OTHER_CORE)


def main() -> None:
    """Measure the gateway and its ceiling, and print both."""
    pin(OTHER_CORE)
    port = free_port()
    bodies = bodies_of(events(EVENTS_A_REQUEST * REQUESTS), EVENTS_A_REQUEST)
    with running_site() as site:
        ceiling = ceiling_of(site)
        before = site.end_offsets()
        with gateway(site, port) as pid:
            figures, microseconds = measure(
                port,
                pid,
                headers_of(port),
                bodies=bodies,
                path=EVENTS_PATH,
                connections=CONNECTIONS,
            )
            loaded = resident_mebibytes(pid)
        recorded = site.end_offsets() - before
    acknowledged = figures.accepted * EVENTS_A_REQUEST
    assert figures.others == 0, f"{figures.others} answers were not 202"
    assert recorded == acknowledged, f"{acknowledged} acknowledged, {recorded} in the log"
    rate = figures.requests_per_second * EVENTS_A_REQUEST
    print_report(
        {
            "benchmark": "gateway_batches",
            "events_a_request": EVENTS_A_REQUEST,
            "connections": CONNECTIONS,
            "acknowledged": acknowledged,
            "recorded": recorded,
            "events_per_second": rate,
            "cpu_microseconds_an_event": round(microseconds / EVENTS_A_REQUEST, 2),
            "mebibytes_loaded": loaded,
            "requests": figures,
            "ceiling_send_batch_per_second": ceiling,
            "share_of_ceiling": round(rate / ceiling, 3),
        }
    )


if __name__ == "__main__":
    main()
