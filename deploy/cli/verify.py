"""`meterline verify`: the proof that the books are right."""

import asyncio
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

import msgspec
from cyclopts import Parameter
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from deploy.local.find import find_stack
from deploy.verify.check import CannotCheck, Result, Status, plural
from deploy.verify.replay.checks import replay_checks
from deploy.verify.replay.reading import Tell
from deploy.verify.report import Report, as_json, run_checks

_EXIT_NOT_CHECKED: Final = 2
_PLAIN_WIDTH: Final = 200
_STYLES: Final = {Status.OK: "green", Status.FAIL: "bold red", Status.UNCHECKED: "yellow"}


def verify(
    *,
    state: Annotated[Path | None, Parameter(name="--state")] = None,
    tenant: Annotated[str | None, Parameter(name="--tenant")] = None,
    archive: Annotated[Path | None, Parameter(name="--archive")] = None,
    full_replay: Annotated[bool, Parameter(name="--full-replay", negative="")] = False,
    as_json_line: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Check every invariant of the books on live data, changing nothing.

    Reads one snapshot of the database, and the log beside it; may run at any time. The exit code
    is 0 when everything holds, 1 when something is broken, 2 when something could not be checked.

    For example:

        meterline verify --state /tmp/trial
        meterline verify --archive /srv/meterline/archive --full-replay
        meterline verify --json | jq '.checks[] | select(.status != "OK")'

    Parameters
    ----------
    state
        Directory of a running stack; without it METERLINE_KAFKA and METERLINE_POSTGRES decide.
    tenant
        Ref of a tenant whose rows alone are looked at; what tenants share is looked at whole.
    archive
        Directory of the files of archived months: their events are checked with all others.
    full_replay
        Also fold the whole log again, from its first offset, and compare every event, amendment,
        charge, cut and counter with what comes out, byte for byte.
    as_json_line
        Print the report as JSON: the same books give the same line.
    """
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # the report says what went wrong
    address = find_stack(state, os.environ)
    try:
        with telling(is_shown=full_replay) as tell:
            replay = replay_checks(tell) if full_replay else ()
            checking = run_checks(address, tenant_ref=tenant, archive=archive, replay=replay)
            report = asyncio.run(checking)
    except CannotCheck as error:
        sys.stderr.write(f"meterline: could not check: {error}\n")
        sys.exit(_EXIT_NOT_CHECKED)
    if as_json_line:
        sys.stdout.write(msgspec.json.encode(as_json(report)).decode() + "\n")
    else:
        console = wide_console()
        print_report(console, report)
        console.print(f"\n{report.conservation}", soft_wrap=True)
    sys.exit(report.exit_code)


@contextmanager
def telling(*, is_shown: bool) -> Iterator[Tell]:
    """Show a bar of progress on a terminal; yield what moves it."""
    console = Console(highlight=False, stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    is_hidden = not (is_shown and console.is_terminal)
    with Progress(
        *columns, TimeElapsedColumn(), console=console, transient=True, disable=is_hidden
    ) as bar:
        task = bar.add_task("replay", total=None)

        def tell(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total or None)

        yield tell


def wide_console() -> Console:
    """Return a console as wide as the terminal; without one, wide enough that no row breaks."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_PLAIN_WIDTH)


def print_report(console: Console, report: Report) -> None:
    """Print one line an invariant, with what is off below the line that it breaks."""
    table = Table.grid(padding=(0, 2))
    for justify in ("left", "left", "left", "right", "right"):
        table.add_column(justify=justify, overflow="fold")
    for result in report.results:
        _add_result(table, result)
    console.print(table)


def _add_result(table: Table, result: Result) -> None:
    finding, style = result.finding, _STYLES[result.status]
    table.add_row(
        f"[{style}]{'?' if result.reason else result.status}[/]",
        result.check.name,
        result.check.sentence,
        plural(finding.counted, finding.unit),
        "" if result.reason else f"difference {finding.difference:,}",
    )
    if result.reason:
        table.add_row("", "", f"[yellow]could not check: {escape(result.reason)}[/]")
    for witness in finding.witnesses:
        table.add_row("", "", f"[red]{escape(witness)}[/]")
    unnamed = finding.difference - len(finding.witnesses)
    if finding.witnesses and unnamed > 0:
        table.add_row("", "", f"[red]… and {unnamed:,} more[/]")
    for note in finding.notes:
        table.add_row("", "", f"[dim]{escape(note)}[/]")
