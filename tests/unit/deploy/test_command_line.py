"""The commands that compute without a server, as a shell calls them."""

import json
import subprocess
import sys
from typing import Any

PERIODS = {
    "billing_start_date": "2026-01-31",
    "billing_end_date": "2026-04-29",
    "billing_cycle": {"unit": "MONTHLY", "cycle": 1},
    "issue_day": "2026-01-31",
    "payment_time": "AFTER_USE",
    "timezone": "Europe/Berlin",
}


def run(*arguments: str, request: object) -> subprocess.CompletedProcess[bytes]:
    text = request if isinstance(request, bytes) else json.dumps(request).encode()
    return subprocess.run(
        [sys.executable, "-m", "deploy.cli", *arguments],
        input=text,
        capture_output=True,
        timeout=60,
        check=False,
    )


def answer(*arguments: str, request: object) -> Any:  # noqa: ANN401 - JSON
    done = run(*arguments, "--json", request=request)
    assert (done.returncode, done.stderr) == (0, b"")
    return json.loads(done.stdout)


def test_quantities_are_priced() -> None:
    package = {"model": "PACKAGE", "price": "5", "package_size": 100}
    request = {"line_item": package, "quantities": [0, "100", 100.5]}
    results = answer("simulate", request=request)["results"]
    assert [result["amount"] for result in results] == [0, 5, 10]


def test_a_table_shows_what_amounts_are_made_of() -> None:
    tiers = [{"up_to": 100, "unit_price": "0.1", "flat_fee": 2}, {"unit_price": "0.05"}]
    request = {"line_item": {"model": "GRADUATED", "tiers": tiers}, "quantities": ["100.5"]}
    done = run("simulate", request=request)
    rows = [line.split() for line in done.stdout.decode().splitlines()]
    assert rows[1:] == [
        ["100.5", "12.025", "GRADUATED"],
        ["100", "12", "up", "to", "100,", "each", "0.1,", "flat", "2"],
        ["0.5", "0.025", "open,", "each", "0.05"],
    ]


def test_a_wrong_request_is_told_whole_and_is_exit_code_2() -> None:
    done = run("simulate", request={"line_item": {"model": "PER_UNIT"}, "quantities": ["x"]})
    assert done.returncode == 2
    assert done.stdout == b""
    assert done.stderr.decode().splitlines() == [
        "meterline: the request is wrong:",
        "  /line_item/price: PER_UNIT needs it (required)",
        "  /quantities/0: must be a decimal number, such as -12.5 or 3e2 (number_malformed)",
    ]
    assert run("periods", request=b"{").returncode == 2
    done = run("periods", request=PERIODS | {"billing_end_date": "2026-01-01"})
    assert b"/billing_end_date: must not be before billing_start_date" in done.stderr


def test_periods_are_those_of_a_contract() -> None:
    assert answer("periods", request=PERIODS) == [
        {"start": start, "end": end, "issue_date": end, "is_partial": is_partial}
        for start, end, is_partial in [
            ("2026-01-31", "2026-02-28", False),
            ("2026-02-28", "2026-03-31", False),
            ("2026-03-31", "2026-04-30", False),
        ]
    ]


def test_periods_without_an_end_are_as_many_as_are_asked_for() -> None:
    terms = {"billing_start_date": "2026-01-15", "billing_cycle": {"unit": "QUARTERLY"}}
    done = run("periods", "--limit", "2", request=terms)
    assert [line.split() for line in done.stdout.decode().splitlines()][1:] == [
        ["2026-01-15", "2026-04-15", "2026-04-15", "90"],
        ["2026-04-15", "2026-07-15", "2026-07-15", "91"],
    ]
