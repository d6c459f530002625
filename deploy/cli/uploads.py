"""`meterline uploads`: files of usage, streamed to the gateway whole, and their reports."""

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Final, Literal

import msgspec
from cyclopts import App, Parameter
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.progress import Progress as ProgressBar
from rich.table import Table

from deploy.cli.events import EXIT_REJECTED, Flat, Target, connect
from deploy.usage_files.errors import GaveUp
from meterline_client import Client, ClientError, Limits

ROWS_DEFAULT: Final = 20
_OK: Final = 200
_PLAIN_WIDTH: Final = 200
_FIGURES: Final = ("rows", "accepted", "rejected")

uploads = App(name="uploads", help="Files of usage, read by the gateway; and their reports.")

Json = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON.")]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How the gateway is to read a file."""

    key: Annotated[
        str | None,
        Parameter(help="Names the upload; by default the digest of the file, so that the same one "
        "never counts twice."),
    ] = None  # fmt: skip
    map: Annotated[
        tuple[str, ...],
        Parameter(
            negative="",
            help="Which column is which field: field=column, comma separated or repeated.",
        ),
    ] = ()
    other_columns: Annotated[
        Literal["refuse", "data", "ignore"] | None,
        Parameter(help="What becomes of columns that are no field; `data` sends them along."),
    ] = None
    delimiter: Annotated[
        Literal["comma", "semicolon", "tab", "bar"] | None,
        Parameter(help="Between cells; seen by the first line unless given."),
    ] = None
    format: Annotated[
        str | None, Parameter(help="The tenant's format that the rows are in, by its name.")
    ] = None

    def options(self) -> dict[str, str]:
        """Return what stands in the query. Raises GaveUp."""
        found = {
            "map": msgspec.json.encode(_fields(self.map)).decode() if self.map else None,
            "other_columns": self.other_columns,
            "delimiter": self.delimiter,
            "format_name": self.format,
        }
        return {name: value for name, value in found.items() if value is not None}


STACK: Final = Target()
AS_IT_IS: Final = Reading()


def _fields(texts: Sequence[str]) -> dict[str, str]:
    """Read `field=column` pairs; return the fields by column. Raises GaveUp."""
    fields = {}
    for pair in filter(str.strip, ",".join(texts).split(",")):
        field, sign, column = (part.strip() for part in pair.partition("="))
        if not sign or not column:
            raise GaveUp(f"--map: {pair!r} is not field=column")
        fields[column] = field
    return fields


@uploads.command
def send(
    file: Annotated[Path, Parameter(allow_leading_hyphen=True)],
    /,
    *,
    target: Annotated[Target, Flat] = STACK,
    reading: Annotated[Reading, Flat] = AS_IT_IS,
    rejects: Annotated[Path | None, Parameter(help="A CSV for the rejected rows.")] = None,
    is_json: Json = False,
) -> None:
    """Send a CSV file of any size, also as .gz or .zst; the gateway reads it and tells each row.

    A connection that breaks is made again, and the file goes on where it was. The exit code is 0
    when every row was accepted, 1 when some were rejected, 2 when the file could not be sent to
    its end: the same command goes on.

    For example:

        meterline uploads send usage.csv.gz --map timestamp=ts,customer_name=account --rejects r.csv

    Parameters
    ----------
    file
        The file; `-` is standard input.
    """
    logging.getLogger("meterline_client").setLevel(logging.CRITICAL)  # the report says it all
    options = reading.options()
    client = connect(target, Limits())
    try:
        with _open(file) as source, _bar(file) as on_progress:
            report = client.upload(source, key=reading.key, on_progress=on_progress, **options)
        if rejects is not None and report["rejected_csv"]:
            rejects.write_bytes(_fetch(client, report["rejected_csv"]))
    except (ClientError, OSError) as error:
        raise GaveUp(str(error)) from None
    finally:
        client.close(0)
    _tell(report, is_json=is_json)
    sys.exit(EXIT_REJECTED if report["rejected"] else 0)


@contextmanager
def _open(file: Path) -> Iterator[BinaryIO]:
    if str(file) == "-":
        yield sys.stdin.buffer
        return
    with file.open("rb") as source:
        yield source


@contextmanager
def _bar(file: Path) -> Iterator[Callable[[int], None] | None]:
    """Draw how much of the file is sent, where somebody looks."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    size = None if str(file) == "-" else file.stat().st_size
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with ProgressBar(*columns, console=console, transient=True) as bar:
        task = bar.add_task("sending", total=size)
        yield lambda sent: bar.update(task, completed=sent)


@uploads.command(name="list")
def list_uploads(
    *,
    target: Annotated[Target, Flat] = STACK,
    limit: Annotated[int, Parameter(help="How many, 1 to 1,000.")] = ROWS_DEFAULT,
    is_json: Json = False,
) -> None:
    """List uploads, the newest first. The key needs the scope usage:read."""
    found = _get(target, "/api/usage/uploads", limit=limit)["uploads"]
    if is_json:
        for upload in found:
            _print_json(upload)
        return
    table = Table("upload", "begun", "state", *_FIGURES, "key", box=None, pad_edge=False)
    for upload in found:
        figures = [f"{upload[name]:,}" for name in _FIGURES]
        begun = upload["created_at"][:19].replace("T", " ")
        table.add_row(
            upload["upload_ref"], begun, upload["state"], *figures, upload["idempotency_key"][:40]
        )
    _console().print(table)


@uploads.command
def show(ref: str, /, *, target: Annotated[Target, Flat] = STACK, is_json: Json = False) -> None:
    """Show how far an upload is, and the first of its rejected rows.

    Parameters
    ----------
    ref
        What `meterline uploads list` shows first.
    """
    _tell(_get(target, f"/api/usage/uploads/{ref}"), is_json=is_json)


@uploads.command
def rejected(
    ref: str,
    /,
    *,
    target: Annotated[Target, Flat] = STACK,
    output: Annotated[Path | None, Parameter(help="A file; without it, standard output.")] = None,
) -> None:
    """Print the rejected rows of an upload as a CSV, to be corrected and sent again.

    Parameters
    ----------
    ref
        What `meterline uploads list` shows first.
    """
    client = connect(target, Limits())
    try:
        content = _fetch(client, f"/api/usage/uploads/{ref}/rejected.csv")
    except ClientError as error:
        raise GaveUp(str(error)) from None
    finally:
        client.close(0)
    if output is None:
        sys.stdout.buffer.write(content)
    else:
        output.write_bytes(content)


def _get(target: Target, path: str, **query: object) -> Any:  # noqa: ANN401 - JSON
    client = connect(target, Limits())
    try:
        return client.request("GET", path, **query)
    except ClientError as error:
        raise GaveUp(str(error)) from None
    finally:
        client.close(0)


def _fetch(client: Client, path: str) -> bytes:
    status, content = client.fetch("GET", path)
    if status != _OK:
        raise GaveUp(f"{path}: {content.decode(errors='replace')[:500]}")
    return content


def _tell(report: dict[str, Any], *, is_json: bool) -> None:
    if is_json:
        _print_json(report)
        return
    console = _console()
    table = Table(show_header=False, box=None)
    table.add_column(justify="right")
    table.add_column()
    for name in _FIGURES:
        table.add_row(f"{report[name]:,}", name)
    for error in report["errors"]:
        place = error["pointer"].removeprefix("/") or "row"
        table.add_row("", f"row {error['row']} (line {error['line']}), {place}: {error['detail']}")
    console.print(f"{report['state']} {report['upload_ref']}")
    console.print(table)
    if report["problem"] is not None:
        console.print(escape(report["problem"]["detail"]), soft_wrap=True)
    if report["rejected"] > len(report["errors"]):
        console.print(f"All of them: meterline uploads rejected {report['upload_ref']}")


def _console() -> Console:
    console = Console(highlight=False, markup=False)
    return console if console.is_terminal else Console(
        highlight=False, markup=False, width=_PLAIN_WIDTH
    )  # fmt: skip


def _print_json(value: object) -> None:
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
