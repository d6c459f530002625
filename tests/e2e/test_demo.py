"""`meterline demo` as a newcomer runs it."""

import csv
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from deploy.demo.sample import read_sample
from tests.e2e.month import invoice_totals


@pytest.fixture
def state() -> Iterator[Path]:
    """Give a directory that the servers' user may enter, which pytest's own are not."""
    parent = Path(tempfile.mkdtemp(prefix="meterline-demo-"))
    yield parent / "state"
    shutil.rmtree(parent)


def run_demo(state: Path, *arguments: str | Path) -> str:
    """Run the demonstration to its good end; what it said."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("METERLINE_")}
    command = [sys.executable, "-m", "deploy.cli", "demo", "--state", state, *arguments]
    ended = subprocess.run(
        command, env=env, capture_output=True, text=True, timeout=170, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_the_demonstration_bills_proves_and_leaves_nothing_running(state: Path) -> None:
    said = run_demo(state)
    for name, total in invoice_totals(read_sample()).items():
        assert re.search(rf"{name}.* {total:,.2f} USD", said), said
    assert "101,942 accepted = 100,000 rated + 1,900 duplicates + 40 conflicts" in said
    assert re.search(r"Booked in USD: [\d,.]+ receivable \+ 1,000.00 cash = ", said), said
    assert "difference 0" in said
    assert "FAIL" not in said
    assert "/api/usage/event" in said
    pdfs = list((state / "demo").glob("*.pdf"))
    assert len(pdfs) == 8
    assert all(pdf.read_bytes().startswith(b"%PDF-") for pdf in pdfs)
    commands = [" ".join(p.info["cmdline"] or ()) for p in psutil.process_iter(["cmdline"])]
    assert not [command for command in commands if str(state) in command]


def test_the_demonstration_bills_a_usage_file_of_ones_own(state: Path) -> None:
    usage = state.parent / "usage.csv"
    rows = [["when", "account", "sku", "units"]]
    for day in range(1, 31):
        rows += [
            [f"2026-0{month}-{day:02}T12:00:00Z", account, sku, f"{day}.5"]
            for month in (8, 9)
            for account in ("acme", "Bolt & Sons")
            for sku in ("gb", "calls")
        ]
    rows.append(["2026-09-31T12:00:00Z", "acme", "gb", "1"])
    with usage.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    maps = "timestamp=when,customer=account,meter=sku,quantity=units"

    said = run_demo(state, "--csv", usage, "--map", maps, "--price", "0.02")
    # 1.5 + … + 30.5 = 480 units a meter and month, at 0.02.
    for month in ("2026-08", "2026-09"):
        for account in ("acme", "Bolt & Sons"):
            assert re.search(rf"{account} .*{month} .* 9.60 .* 9.60 .* 19.20 USD", said), said
    assert "240 acknowledged, 1 refused" in said
    assert "240 accepted = 240 rated" in said
    assert "difference 0" in said
    assert "FAIL" not in said
    assert len(list((state / "demo").glob("*.pdf"))) == 4
