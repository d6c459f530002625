"""`meterline events`: usage from files."""

import logging
import os
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Final

import msgspec
from cyclopts import App, Parameter
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress import Progress as ProgressBar
from rich.table import Table

from deploy.local.find import find_stack
from deploy.usage_files.errors import GaveUp
from deploy.usage_files.journal import Rejects, load_progress
from deploy.usage_files.mapping import EventMaker, read_map
from deploy.usage_files.sending import Sending, Summary
from deploy.usage_files.source import Format, Source, open_source
from meterline_client import Client, ClientError, Limits

EXIT_REJECTED: Final = 1
CLOSE_SECONDS: Final = 5.0
BATCHES_HELD: Final = 8
"""Few, so that a row's patience is not used up in the queue."""
PASSWORD_VARIABLE: Final = "METERLINE_PASSWORD"  # noqa: S105 - the variable's name
REASONS_SHOWN: Final = 10

events = App(name="events", help="Usage events from files.")


@dataclass(frozen=True, kw_only=True)
class Target:
    """The gateway: of a running stack, or named."""

    state: Annotated[
        Path | None, Parameter(help="Directory of a running stack: its gateway and key are used.")
    ] = None
    url: Annotated[
        str | None, Parameter(env_var="METERLINE_URL", help="A gateway, with --api-key.")
    ] = None
    api_key: Annotated[
        str | None,
        Parameter(
            env_var="METERLINE_API_KEY",
            help="Name of the key to log in with. It needs the scope usage:write, and to resolve "
            "names billing:read and usage:read.",
        ),
    ] = None
    password_file: Annotated[
        Path | None,
        Parameter(help=f"File with the key's password; without it, {PASSWORD_VARIABLE}."),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a file is read and sent."""

    map: Annotated[
        tuple[str, ...],
        Parameter(
            negative="",
            help="Which column is which field: field=column, comma separated or repeated. "
            "`customer` and `meter` take a ref or a name, `key` is idempotency_key, `data.NAME` "
            "goes into additional_report_data. A column named like a field needs no mapping.",
        ),
    ] = ()
    extra: Annotated[
        bool, Parameter(negative="", help="Send all other columns in additional_report_data.")
    ] = False
    format: Annotated[Format | None, Parameter(help="Without it, what the content looks like.")] = (
        None
    )
    batch: Annotated[int, Parameter(help="Events a request.")] = 1_000
    patience: Annotated[
        float, Parameter(help="Seconds a row may wait for its acknowledgement.")
    ] = 300.0
    resume: Annotated[
        Path | None, Parameter(help="Where to note how far it got, surviving any end.")
    ] = None
    rejects: Annotated[
        Path | None, Parameter(help="A CSV for the rejected rows, each with its reasons.")
    ] = None
    json: Annotated[bool, Parameter(negative="", help="Print the summary as one JSON line.")] = (
        False
    )

    @property
    def limits(self) -> Limits:
        """The client's bounds. Raises GaveUp."""
        wanted = {
            "batch_events": self.batch,
            "queue_events": BATCHES_HELD * self.batch,
            "deadline_seconds": self.patience,
        }
        try:
            return msgspec.convert(wanted, Limits)
        except msgspec.ValidationError as error:
            raise GaveUp(f"--batch or --patience: {error}") from None


Flat = Parameter(name="*")


@events.command
def send(
    file: Annotated[Path, Parameter(allow_leading_hyphen=True)],
    /,
    *,
    target: Annotated[Target, Flat] = Target(),
    options: Annotated[Options, Flat] = Options(),
) -> None:
    """Send the usage events of a file: CSV, NDJSON or a JSON array, also as .gz or .xz.

    Each row is one event. A row without an idempotency key gets one made of the file's digest and
    the row's number, so sending the same file again never counts twice. Customers and meters may
    be given by ref or by name. The exit code is 0 when every row was accepted, 1 when some were
    rejected, 2 when the file could not be sent to its end: send it again, with the same --resume
    to go on where it stopped.

    For example:

        meterline events send usage.csv --map timestamp=ts,customer=account,meter=sku,quantity=n
        meterline events send usage.ndjson.gz --resume usage.resume --rejects rejected.csv
        zcat usage.csv.gz | meterline events send - --url https://billing.example --api-key app

    Parameters
    ----------
    file
        The file; `-` is standard input.
    """
    logging.getLogger("meterline_client").setLevel(logging.CRITICAL)  # the summary says it all
    began = time.monotonic()
    summary = _send(connect(target, options.limits), file, options)
    _tell(summary, file, options, time.monotonic() - began)
    if summary.stopped is not None:
        sys.exit(GaveUp.exit_code)
    sys.exit(EXIT_REJECTED if summary.rejected else 0)


def connect(target: Target, limits: Limits) -> Client:
    """Return a client of the gateway that the options name, logged in. Raises GaveUp."""
    url, api_key, password = _address(target)
    try:
        client = Client(url, api_key, password, limits=limits)
    except ValueError as error:
        raise GaveUp(f"--url: {error}") from None
    try:
        client.login()
    except ClientError as error:
        client.close(0)
        raise GaveUp(f"{url}: {error}") from None
    return client


def _address(target: Target) -> tuple[str, str, str]:
    """Return the gateway's URL, and the name and password of a key."""
    if target.url is not None and target.state is None:
        if target.api_key is None:
            raise GaveUp("--api-key is needed with --url")
        return target.url, target.api_key, _password(target.password_file)
    stack = find_stack(target.state, os.environ)
    if not stack.gateway_url or not stack.api_key or not stack.api_password:
        raise GaveUp("name a gateway with --url and --api-key, or a running stack with --state")
    return stack.gateway_url, stack.api_key, stack.api_password


def _password(file: Path | None) -> str:
    if file is not None:
        try:
            return file.read_text().partition("\n")[0].rstrip("\r")
        except (OSError, UnicodeDecodeError) as error:
            raise GaveUp(f"--password-file: {error}") from None
    if (password := os.environ.get(PASSWORD_VARIABLE)) is None:
        raise GaveUp(f"the key's password is needed: --password-file, or {PASSWORD_VARIABLE}")
    return password


def _send(client: Client, file: Path, options: Options) -> Summary:
    """Send the file, and close the client whatever happens."""
    with ExitStack() as stack:
        stack.callback(client.close, CLOSE_SECONDS)
        source = stack.enter_context(open_source(file, options.format))
        progress = load_progress(options.resume, source)
        rejects = None
        if options.rejects is not None:
            kept = progress.rejects_bytes
            rejects = stack.enter_context(Rejects(options.rejects, source.columns, kept))
        maker = _maker(client, source, options)
        on_progress = stack.enter_context(_bar(source))
        sending = Sending(
            source,
            maker,
            progress,
            resume=options.resume,
            rejects=rejects,
            on_progress=on_progress,
        )
        try:
            return sending.run(client)
        except KeyboardInterrupt:
            sending.summary.stopped = "interrupted"
        except (ClientError, OSError) as error:
            sending.summary.stopped = str(error)
        return sending.summary


def _maker(client: Client, source: Source, options: Options) -> EventMaker:
    @cache
    def key_prefix() -> str:
        return source.digest or secrets.token_hex(16)  # a pipe's rows can't come again

    columns = read_map(options.map, source.columns, extra=options.extra)
    return EventMaker(columns, source.columns, names=cache(client.names), key_prefix=key_prefix)


@contextmanager
def _bar(source: Source) -> Iterator[Callable[[Summary], None]]:
    """Draw how much of the file is read, where somebody looks."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _summary: None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with ProgressBar(*columns, console=console, transient=True) as bar:
        task = bar.add_task("sending", total=source.size)

        def draw(summary: Summary) -> None:
            said = f"{summary.accepted:,} accepted, {summary.rejected:,} rejected"
            bar.update(task, completed=source.bytes_read, description=said)

        yield draw


def _tell(summary: Summary, file: Path, options: Options, seconds: float) -> None:
    if options.json:
        content = msgspec.to_builtins(summary) | {
            "reasons": list(summary.reasons.values()),
            "seconds": round(seconds, 3),
        }
        sys.stdout.write(msgspec.json.encode(content).decode() + "\n")
        return
    console = Console(highlight=False)
    table = Table(show_header=False, box=None)
    table.add_column(justify="right")
    table.add_column()
    sent = summary.rows - summary.earlier
    if summary.earlier:
        table.add_row(f"{summary.earlier:,}", "rows were sent by earlier runs")
    table.add_row(
        f"{sent:,}", f"rows in {seconds:.1f} s, {sent / max(seconds, 0.001):,.0f} a second"
    )
    table.add_row(f"[green]{summary.accepted:,}[/]", "accepted")
    table.add_row(f"[{'red' if summary.rejected else 'dim'}]{summary.rejected:,}[/]", "rejected")
    for reason in sorted(summary.reasons.values(), key=lambda r: -r.rows)[:REASONS_SHOWN]:
        table.add_row(f"{reason.rows:,}", f"  {escape(reason.sentence)}, first in row {reason.row}")
    console.print(table)
    if summary.rejected and options.rejects:
        console.print(f"The rejected rows are in {options.rejects}", soft_wrap=True)
    if summary.stopped is not None:
        _tell_stop(console, summary.stopped, file, options)


def _tell_stop(console: Console, reason: str, file: Path, options: Options) -> None:
    console.print(f"[red]Stopped:[/] {escape(reason)}", soft_wrap=True)
    if str(file) == "-":
        console.print("Rows with keys of their own can be sent again; they count once.")
    else:
        again = "the same command goes on there" if options.resume else "send the file again"
        console.print(f"Nothing counts twice: {again}.")
