"""`meterline bench`: the benchmarks, each beside its own ceiling, with their figures kept."""

import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from deploy.local.errors import StackError

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
RESULTS = BENCHMARKS / "results"
KNOWN = (
    "gateway_single",
    "gateway_batches",
    "gateway_bytes",
    "gateway_latency",
    "gateway_saturation",
    "gateway_memory",
    "publisher",
    "pricing",
    "rater",
    "rater_growth",
    "rater_latency",
    "closing",
    "usage_reads",
    "invoicer",
    "issuing",
)
SECONDS_MAX = 900


def bench(
    *names: str,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
    keep: Annotated[bool, Parameter(name="--keep")] = True,
) -> None:
    """Run the benchmarks and print their figures, each beside the ceiling of the same run.

    A benchmark starts the servers it needs, ends by itself, and stays on loopback. Its figures
    are kept in benchmarks/results/ with the machine, the day and the command.

    For example:

        meterline bench
        meterline bench rater --json
        meterline bench --no-keep

    Parameters
    ----------
    names
        Which ones, by their file's name; all when none is named.
    as_json
        Print the kept documents instead of tables, one line each.
    keep
        Write benchmarks/results/.
    """
    console = Console(highlight=False)
    unknown = [name for name in names if name not in KNOWN]
    if unknown:
        raise StackError(f"no benchmark {unknown[0]}; there are {', '.join(KNOWN)}")
    for name in names or KNOWN:
        with console.status(f"benchmark {name}"):
            document = _run(name)
        if keep:
            _keep(name, document)
        if as_json:
            sys.stdout.write(msgspec.json.encode(document).decode() + "\n")
        else:
            _print(console, name, document["figures"])


def _run(name: str) -> dict[str, Any]:
    """Run one benchmark; return its figures with where, when and how they were measured."""
    command = [sys.executable, "-m", f"benchmarks.{name}"]
    ended = subprocess.run(
        command, cwd=BENCHMARKS.parent, capture_output=True, timeout=SECONDS_MAX, check=False
    )
    if ended.returncode != 0:
        raise StackError(f"benchmark {name} failed:\n{ended.stderr.decode()[-3000:]}")
    return {
        "benchmark": name,
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["python", *command[1:]]),
        "machine": machine(),
        "figures": msgspec.json.decode(ended.stdout),
    }


def machine() -> dict[str, Any]:
    """Describe this machine as far as it explains figures."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": model,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def _keep(name: str, document: Mapping[str, Any]) -> None:
    RESULTS.mkdir(parents=True, exist_ok=True)
    file = RESULTS / f"{document['measured_at'][:10]}-{name}.json"
    file.write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")


def _print(console: Console, name: str, figures: Mapping[str, Any]) -> None:
    """Print every number of a benchmark's JSON, the nested ones under their path."""
    table = Table(title=name, title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for path, value in _flat(figures):
        table.add_row(path, f"{value:,.6g}" if isinstance(value, float) else f"{value:,}")
    console.print(table)


def _flat(figures: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, int | float]]:
    for name, value in figures.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{path}{name}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{path}{name}", value
