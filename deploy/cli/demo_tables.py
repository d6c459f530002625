"""What the demonstrations print: steps ticked off, a bar, invoices to be recomputed, the ledger."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from deploy.demo.load import Sent
from deploy.verify.report import Report


@contextmanager
def step(console: Console, name: str) -> Iterator[None]:
    """Tick a step off with the time it took, or cross it."""
    began = time.monotonic()
    try:
        with console.status(name):
            yield
    except BaseException:
        console.print(f"[red]✗[/] {name}")
        raise
    console.print(f"[green]✓[/] {name} [dim]{time.monotonic() - began:.1f} s[/]")


@contextmanager
def loading(console: Console, name: str, total: int) -> Iterator[Callable[[Sent, int], None]]:
    """Draw a bar while rows are sent."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    began = time.monotonic()
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(f"sending {name}", total=total)
        yield lambda _sent, rows: bar.advance(task, rows)
    seconds = time.monotonic() - began
    console.print(f"[green]✓[/] {name} sent: {total:,} rows [dim]{seconds:.1f} s[/]")


def print_walk(console: Console, document: Mapping[str, Any], tax: str) -> None:
    """Print one invoice so that a person can recompute it. tax: percent."""
    customer = document["customer"]["customer_name"]
    table = Table(
        title=f"\n{document['document_number']} of {escape(customer)}, to be recomputed by hand",
        title_justify="left",
        show_header=False,
    )
    for justify in ("left", "right", "right", "right"):
        table.add_column(justify=justify)
    for line in document["products"][0]["lines"]:
        parts = line["tiers"] or [line]
        for part in parts:
            name = escape(line["item"]) if part is parts[0] else ""
            table.add_row(name, plain(part["quantity"]), f"× {plain(part['unit_price'])}", "")
        table.add_row("", "", "rounded to", f"{line['amount']:,.2f}")
    table.add_section()
    table.add_row("Sum", "", "", f"{document['sub_total']:,.2f}")
    table.add_row("Tax", f"{tax} %", "", f"{document['total_tax']:,.2f}")
    table.add_row("[bold]Total[/]", "", document["currency"], f"[bold]{document['total']:,.2f}[/]")
    console.print(table)


def plain(value: Decimal | int | None) -> str:
    """Write a number with all its digits, and no zeros after them."""
    if value is None:
        return ""
    text = f"{Decimal(value):,f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def print_balances(console: Console, balance: Mapping[str, Any]) -> None:
    """Print what is in the accounts of each currency: debits on one side, credits on the other."""
    for one in balance["currencies"]:
        sides = ([a for a in one["accounts"] if sign * a["balance"] > 0] for sign in (1, -1))
        debits, credits_ = (
            " + ".join(f"{abs(a['balance']):,.2f} {a['account'].lower()}" for a in side)
            for side in sides
        )
        console.print(f"  Booked in {one['currency']}: {debits} = {credits_}")


def print_conservation(console: Console, report: Report, sent: Sent) -> None:
    """Set the sender's own ledger against the books."""
    count = report.conservation
    difference = sent.accepted - count.total
    colour = "green" if difference == 0 else "red"
    console.print(
        f"[{colour}]{sent.accepted:,} accepted[/] = {count.rated:,} rated + "
        f"{count.duplicates:,} duplicates + {count.conflicts:,} conflicts + "
        f"{count.dead_letters:,} dead letters + {count.unrated:,} unrated, "
        f"[{colour}]difference {difference}[/]"
    )
