"""`meterline archive`: old months of usage events leave the database for Parquet files."""

import asyncio
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

import asyncpg
import msgspec
from cyclopts import Parameter, validators
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from deploy.archive.months import (
    Archived,
    CannotArchive,
    archive_month,
    list_months,
    month_text,
    reasons_to_stay,
)
from deploy.local.find import StackAddress, find_stack

_EXIT_HELD: Final = 1
_PLAIN_WIDTH: Final = 200
_Directory = Annotated[Path, Parameter(validator=validators.Path(exists=True, file_okay=False))]


class Outcome(msgspec.Struct):
    """What became of the months. held: why the first one that stayed did, by its name."""

    archived: list[Archived]
    held: dict[str, list[str]]


def archive(
    directory: _Directory,
    *,
    before: Annotated[str | None, Parameter(name="--before")] = None,
    state: Annotated[Path | None, Parameter(name="--state")] = None,
    is_dry: Annotated[bool, Parameter(name="--dry-run", negative="")] = False,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Move months of usage events that nothing can change any more into Parquet files.

    A month may go when every tenant has a maximum_event_age_days in its settings that has passed
    for it and for every billing period in it, and all of those are closed. From then on raters
    refuse what would still come for it (dead letters MONTH_ARCHIVED). Each file is compared with
    the database before the month's table is dropped. Charges, cuts, documents and versions stay;
    `meterline verify --archive DIRECTORY` proves them from the files. Keep the files: nothing else
    has these events, but the log.

    Months go in their order, the oldest first, and stop at the first that has to stay. The exit
    code is 0, or 1 when --before names a month that was not reached.

    For example:

        meterline archive /srv/meterline/archive --dry-run
        meterline archive /srv/meterline/archive --before 2023-01

    Parameters
    ----------
    directory
        Where the files go; it has to be there.
    before
        The first month that stays, as 2023-01; without it all that may go, go.
    state
        Directory of a running stack; without it METERLINE_KAFKA and METERLINE_POSTGRES decide.
    is_dry
        Only say what would go, and what holds the next month.
    as_json
        Print one JSON line.
    """
    address = find_stack(state, os.environ)
    with _telling() as tell:
        outcome = asyncio.run(_archive(address, directory, before, tell, is_dry=is_dry))
    if as_json:
        sys.stdout.write(msgspec.json.encode(outcome).decode() + "\n")
    else:
        _print(outcome, is_dry=is_dry)
    sys.exit(_EXIT_HELD if before is not None and outcome.held else 0)


@contextmanager
def _telling() -> Iterator[Callable[[str, int, int], None]]:
    """Show a bar of progress; yield what moves it: a month, and how much of it is done."""
    console = Console(highlight=False, stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as bar:
        task = bar.add_task("months", total=None)

        def tell(month: str, done: int, total: int) -> None:
            bar.update(task, description=month, completed=done, total=total)

        yield tell


async def _archive(
    address: StackAddress,
    directory: Path,
    before: str | None,
    tell: Callable[[str, int, int], None],
    *,
    is_dry: bool,
) -> Outcome:
    outcome = Outcome([], {})
    connection = await asyncpg.connect(address.postgres)
    try:
        months = await list_months(connection)
        wanted = [m for m in months if before is None or month_text(m) < before]
        for done, month in enumerate(wanted):
            name = month_text(month)
            tell(name, done, len(wanted))
            reasons = await reasons_to_stay(connection, month)
            if reasons:
                outcome.held[name] = reasons
                break
            if is_dry:
                outcome.archived.append(Archived(name, 0, "", 0, ""))
                continue
            try:
                outcome.archived.append(
                    await archive_month(connection, address.kafka, month, directory)
                )
            except CannotArchive as error:
                outcome.held[name] = [error.detail]
                break
    finally:
        await connection.close()
    return outcome


def _print(outcome: Outcome, *, is_dry: bool) -> None:
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console = Console(highlight=False, markup=False, width=_PLAIN_WIDTH)
    if is_dry:
        for one in outcome.archived:
            console.print(f"{one.month} may go")
    elif outcome.archived:
        console.print(_table(outcome.archived))
    for month, reasons in outcome.held.items():
        console.print("\n  ".join([f"{month} stays:", *reasons]))
    if not (outcome.archived or outcome.held):
        console.print("There is no month to archive.")


def _table(archived: list[Archived]) -> Table:
    table = Table("month", box=None, pad_edge=False)
    for name in ("events", "bytes"):
        table.add_column(name, justify="right")
    table.add_column("file")
    table.add_column("SHA-256")
    for one in archived:
        table.add_row(one.month, f"{one.events:,}", f"{one.bytes:,}", one.file, one.sha256)
    return table
