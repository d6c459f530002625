"""How long a single event takes at 70 % of what the gateway can do, sent at a rate of its own.

Times count from the moment at which a request was meant to be sent. The rate is 70 % of the most
that the same connections got in the same run, or what the sender can hold, whichever is less; the
sender's own lateness stands beside. Every acknowledged event is counted in the log; one that was
not answered 202 may be there, too. The ceiling is a bare aiohttp handler at the same rate.
Run: `python -m benchmarks.gateway_latency [--vegeta PROGRAM]`; with vegeta it sends as well.
"""

import argparse
import base64
import json
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from benchmarks.open_loop import OpenFigures, OpenTask, part
from benchmarks.serving import (
    EVENT_PATH,
    OTHER_CORE,
    bare_handler,
    gateway,
    headers_of,
    measure,
    print_report,
    run_sender,
)
from benchmarks.site import lifelike_events, pin, running_site
from deploy.local.ports import LOOPBACK, free_port

EVENTS = 20_000
CONNECTIONS = 256
CONNECTIONS_MAX = 2_048
LOAD = 0.7
SECONDS = 15.0
LAG_MILLISECONDS_MAX = 5.0
"""A sender that is later than this, every hundredth time, does not hold the rate."""
SHARES = (1.0, 0.7, 0.5, 0.3)
VEGETA_SHARES = (0.5, 0.3, 0.2, 0.1)
"""It shares its core with Kafka, and needs more of it for a request than our sender. Its workers
are as many as the connections: with more it would open so many that no ports are left."""


def send(port: int, headers: list[str], bodies: list[str], per_second: float) -> OpenFigures:
    """Send events at a rate."""
    task = OpenTask(
        host=LOOPBACK,
        port=port,
        path=EVENT_PATH,
        headers=headers,
        bodies=bodies,
        connections_max=CONNECTIONS_MAX,
        per_second=per_second,
        seconds=SECONDS,
    )
    return msgspec.json.decode(run_sender("open_loop", task), type=OpenFigures)


def send_held(
    port: int, headers: list[str], bodies: list[str], per_second: float
) -> tuple[float, OpenFigures, int]:
    """Send at a rate, or the highest share of it that the sender holds.

    Returns the rate, the figures, and how many were accepted in all.
    """
    accepted, rates = 0, [round(per_second * share, 1) for share in SHARES]
    for rate in rates:
        figures = send(port, headers, bodies, rate)
        accepted += figures.accepted
        assert figures.others + figures.given_up == 0, f"not all were accepted: {figures}"
        if figures.lag_milliseconds_p99 <= LAG_MILLISECONDS_MAX or rate == rates[-1]:
            return rate, figures, accepted
    raise AssertionError("the last rate is taken as it is")


def hold_with_vegeta(
    program: str, port: int, headers: list[str], bodies: list[str], per_second: float
) -> tuple[dict[str, object], int, int]:
    """Have vegeta send at a rate, or the highest share of it that it holds.

    Returns the figures, and how many were accepted and how many not, in all.
    """
    accepted = others = 0
    for share in VEGETA_SHARES:
        seen = send_with_vegeta(program, port, headers, bodies, round(share * per_second, 1))
        accepted += int(str(seen["accepted"]))
        others += int(str(seen["others"]))
        is_held = float(str(seen["lag_milliseconds_p99"])) <= LAG_MILLISECONDS_MAX
        if is_held or share == VEGETA_SHARES[-1]:
            return seen, accepted, others
    raise AssertionError("the last rate is taken as it is")


def send_with_vegeta(
    program: str, port: int, headers: list[str], bodies: list[str], per_second: float
) -> dict[str, object]:
    """Have vegeta send at a rate; its times, too, count from when a request was meant to be sent.

    It numbers requests in the order of their times, from which those times follow.
    """
    named = dict(header.split(": ", 1) for header in headers)
    target = {"method": "POST", "url": f"http://{LOOPBACK}:{port}{EVENT_PATH}"}
    lines = [
        json.dumps(
            target
            | {
                "body": base64.b64encode(body.encode()).decode(),
                "header": {name: [value] for name, value in named.items()},
            }
        )
        for body in bodies
    ]
    with TemporaryDirectory() as directory:
        targets = Path(directory) / "targets"
        targets.write_text("\n".join(lines))
        rate = f"{round(per_second * 10)}/10s"
        attack = [
            program, "attack", "-format=json", f"-targets={targets}", f"-rate={rate}",
            f"-duration={SECONDS}s", f"-workers={CONNECTIONS}", f"-max-workers={CONNECTIONS}",
            "-http2=false",
        ]  # fmt: skip
        results = Path(directory) / "results"
        subprocess.run([*attack, f"-output={results}"], check=True)
        encoded = subprocess.run(
            [program, "encode", "-to=csv", str(results)], check=True, stdout=subprocess.PIPE
        ).stdout
    rows = [line.split(",") for line in encoded.decode().splitlines()]
    return _vegeta_figures(rows, round(per_second * 10) / 10)


def _vegeta_figures(rows: list[list[str]], per_second: float) -> dict[str, object]:
    """Read vegeta's rows: time, status, latency, …, the request's number in the ninth."""
    began = min(int(row[0]) - int(int(row[8]) / per_second * 1e9) for row in rows)
    lags, latencies = [], []
    for row in rows:
        lag = (int(row[0]) - began) / 1e9 - int(row[8]) / per_second
        lags.append(lag)
        latencies.append(lag + int(row[2]) / 1e9)
    lags.sort()
    latencies.sort()
    return {
        "per_second": per_second,
        "accepted": sum(row[1] == "202" for row in rows),
        "others": sum(row[1] != "202" for row in rows),
        "milliseconds_p50": part(latencies, 0.5),
        "milliseconds_p99": part(latencies, 0.99),
        "milliseconds_max": part(latencies, 1),
        "lag_milliseconds_p50": part(lags, 0.5),
        "lag_milliseconds_p99": part(lags, 0.99),
    }


def main() -> None:
    """Measure the most, then the times at a part of it, and print them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vegeta", help="vegeta's program, to send with it as well")
    vegeta = parser.parse_args().vegeta
    pin(OTHER_CORE)
    port = free_port()
    bodies = [event.decode() for event in lifelike_events(EVENTS)]
    report: dict[str, object] = {"benchmark": "gateway_latency", "connections": CONNECTIONS}
    with running_site() as site:
        before = site.end_offsets()
        with gateway(site, port) as pid:
            headers = headers_of(port)
            most, _ = measure(port, pid, headers, bodies=bodies, connections=CONNECTIONS)
            rate, figures, accepted = send_held(
                port, headers, bodies, LOAD * most.requests_per_second
            )
            acknowledged, unclear = most.accepted + accepted, 0
            report |= {
                "most_per_second": most.requests_per_second,
                "sent_per_second": rate,
                "share_of_most": round(rate / most.requests_per_second, 2),
                "latency": figures,
            }
            if vegeta:
                seen, accepted, unclear = hold_with_vegeta(vegeta, port, headers, bodies, rate)
                acknowledged += accepted
                report |= {"latency_by_vegeta": seen}
        recorded = site.end_offsets() - before
    said = f"{acknowledged} acknowledged, {unclear} not, {recorded} in the log"
    assert acknowledged <= recorded <= acknowledged + unclear, said
    with bare_handler(port):
        report |= {"ceiling_bare_aiohttp": send(port, [], bodies, rate)}
    print_report(report | {"recorded": recorded})


if __name__ == "__main__":
    main()
