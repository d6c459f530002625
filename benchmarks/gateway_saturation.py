"""What the gateway still gets done when it is offered twice what it can take.

One gateway process is held to a quarter of a core, so that the sender is not what gives way. Its
peak is the most that any number of connections got out of it; then single events come at twice
that rate, over as many connections as that takes, from
a client that gives a request up after some seconds. Goodput
is what is acknowledged within that time.
Run: `python -m benchmarks.gateway_saturation`.
"""

import msgspec

from benchmarks.open_loop import OpenFigures, OpenTask
from benchmarks.serving import (
    EVENT_PATH,
    OTHER_CORE,
    cpu_seconds,
    gateway,
    headers_of,
    measure,
    print_report,
    resident_mebibytes,
    run_sender,
)
from benchmarks.site import events, pin, running_site
from benchmarks.throttle import held_to
from deploy.local.ports import LOOPBACK, free_port

SHARE = 0.25
OVERLOAD = 2.0
PEAK_CONNECTIONS = (64, 256, 1_024)
CONNECTIONS_MAX = 4_096
PATIENCE_SECONDS = 5.0
SECONDS = 30.0
WARM_UP_SECONDS = 5.0
EVENTS = 20_000


def overload(port: int, headers: list[str], bodies: list[str], per_second: float) -> OpenFigures:
    """Send more than the gateway can take."""
    task = OpenTask(
        host=LOOPBACK,
        port=port,
        path=EVENT_PATH,
        headers=headers,
        bodies=bodies,
        connections_max=CONNECTIONS_MAX,
        per_second=per_second,
        seconds=SECONDS,
        warm_up_seconds=WARM_UP_SECONDS,
        patience_seconds=PATIENCE_SECONDS,
    )
    return msgspec.json.decode(run_sender("open_loop", task), type=OpenFigures)


def main() -> None:
    """Find the peak, send twice as much, and print both."""
    pin(OTHER_CORE)
    port = free_port()
    bodies = [event.decode() for event in events(EVENTS)]
    with running_site() as site:
        before = site.end_offsets()
        with gateway(site, port) as pid, held_to(pid, SHARE) as way:
            headers = headers_of(port)
            peaks = {
                connections: measure(port, pid, headers, bodies=bodies, connections=connections)[0]
                for connections in PEAK_CONNECTIONS
            }
            peak = max(figures.requests_per_second for figures in peaks.values())
            used = cpu_seconds(pid)
            figures = overload(port, headers, bodies, OVERLOAD * peak)
            used = cpu_seconds(pid) - used
            loaded = resident_mebibytes(pid)
        recorded = site.end_offsets() - before
    acknowledged = sum(each.accepted for each in peaks.values()) + figures.accepted
    assert acknowledged <= recorded <= acknowledged + figures.given_up, (
        f"{acknowledged} acknowledged, {figures.given_up} given up, {recorded} in the log"
    )
    print_report(
        {
            "benchmark": "gateway_saturation",
            "share_of_a_core": SHARE,
            "held_by": way,
            "peak_per_second": {
                str(number): each.requests_per_second for number, each in peaks.items()
            },
            "offered_per_second": round(OVERLOAD * peak, 1),
            "patience_seconds": PATIENCE_SECONDS,
            "connections_max": CONNECTIONS_MAX,
            "overloaded": figures,
            "cpu_seconds_overloaded": round(used, 2),
            "mebibytes_overloaded": loaded,
            "acknowledged": acknowledged,
            "recorded": recorded,
            "goodput_share_of_peak": round(figures.accepted_per_second / peak, 3),
        }
    )


if __name__ == "__main__":
    main()
