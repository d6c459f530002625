"""What `meterline explain` prints: aligned tables, coloured on a terminal."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from schemas.money import currency_digits

Shown = Mapping[str, Any]
"""A part of a proof, as it is in JSON; numbers are text or whole."""

_WORDS: Final = {
    "USAGE": "usage",
    "MINIMUM_FEE": "minimum fee",
    "MAXIMUM_FEE": "maximum fee",
    "DISCOUNT": "discount",
    "PRORATION": "days",
    "CELLS": "cells",
    "ROUNDING": "rounded",
    "LINES": "lines",
    "COMMITMENT": "commitment",
    "PRODUCTS": "products",
    "TAX": "tax",
    "ISSUED": "issued before",
    "CREDIT": "credit",
    "DOCUMENT": "document",
    "LINE": "line",
}
_AGGREGATIONS: Final = {
    "SUM": "the sum",
    "COUNT": "the count",
    "MAX": "the greatest",
    "LAST": "the last",
    "AVERAGE": "the average",
    "RUNNING_AVERAGE": "the mean of the running means",
    "TIME_WEIGHTED": "the average weighted by time",
    "UNIQUE": "the different values",
}
_DIGEST_HELP: Final = "curl … {path} | sha256sum"


def print_proof(console: Console, proof: Shown) -> None:
    """Print a document from its lines to its total."""
    name = proof["document_number"] or proof["invoice_ref"]
    kind = proof["accounting_event_type"].lower()
    console.print(f"[bold]{escape(name)}[/], {kind}, issued on {proof['issue_date']}")
    for before in proof["corrects"]:
        console.print(f"corrects {escape(before['document_number'])} of {before['total']}")
    for product in proof["products"]:
        _print_product(console, product, proof)
    table = _steps_table(proof["steps"])
    total = f"[bold]{_money(proof['total'], proof)}[/]"
    table.add_row("  [bold]total[/]", proof["currency"], total, _mark(proof["agrees"]))
    console.print("\n[bold]Document[/]")
    console.print(table)


def _money(amount: object, proof: Shown) -> str:
    """Write money with the digits of its currency."""
    return f"{Decimal(str(amount)):.{currency_digits(proof['currency'])}f}"


def _print_product(console: Console, product: Shown, proof: Shown) -> None:
    period, cut = product["period"], product["cut"]
    days = period["days"]
    console.print(f"\n[bold cyan]{escape(product['product_name'])}[/]")
    share = ""
    if (days["before"], days["through"]) != (0, days["whole"]):
        share = f", days {days['before'] + 1} to {days['through']} of {days['whole']}"
    console.print(
        f"  period [{period['start']}, {period['end']}) in {escape(period['timezone'])}: "
        f"from {period['start_at']} until before {period['end_at']}{share}",
        markup=False,
        soft_wrap=True,
    )
    # A document of an event holds what was rated below an offset; there is no cut of it.
    place = f"cut {cut['cut_number']}, at" if cut["cut_number"] else "events rated below"
    console.print(
        f"  {place} offset {cut['offset']} of partition {cut['partition']}, on {cut['cut_at']}",
        soft_wrap=True,
    )
    for line in product["lines"]:
        _print_line(console, line, proof)
    console.print(f"\n  [bold]{escape(product['product_name'])} together[/]")
    table = _steps_table(product["steps"])
    total = f"[bold]{_money(product['total'], proof)}[/]"
    table.add_row("  [bold]total[/]", "", total, _mark(product["agrees"]))
    console.print(table)


def _print_line(console: Console, line: Shown, proof: Shown) -> None:
    cell = "" if line["cell"] is None else f" {escape(str(line['cell']))}"
    console.print(
        f"\n  [bold]{line['position']}. {escape(line['item'])}{cell}[/] [dim]{line['model']}, "
        f"price version {line['line_item_ref']}[/]",
        soft_wrap=True,
    )
    table = _steps_table(_measured(line))
    if line["tiers"]:
        for tier in line["tiers"]:
            flat = "" if _is_nothing(tier["flat_fee"]) else f" + {tier['flat_fee']}"
            bound = "beyond" if tier["up_to"] is None else f"up to {tier['up_to']}"
            how = f"{bound}: {tier['quantity']} × {tier['unit_price']}{flat}"
            table.add_row("  tier", how, str(tier["amount"]), "")
    for row in _rows(line["steps"]):
        table.add_row(*row)
    if proof["corrects"] or line["issued"]:
        table.add_row("  redrawn", "what it says now", _money(line["redrawn"], proof), "")
        for before in line["issued"]:
            number = before["document_number"]
            how = "less what it says without this change of the event"
            if number is not None:
                how = f"less the amount on {escape(number)}"
            table.add_row("  issued before", how, _money(before["amount"], proof), "")
    amount = f"[bold]{_money(line['amount'], proof)}[/]"
    table.add_row("  [bold]amount[/]", "", amount, _mark(line["agrees"]))
    console.print(table)
    if line["events_digest"] is not None:
        console.print(f"    [dim]SHA-256[/] {line['events_digest']}", soft_wrap=True)
        path = _DIGEST_HELP.format(path=line["usage"])
        console.print(f"    [dim]check it with[/] {escape(path)}", soft_wrap=True)


def _measured(line: Shown) -> Sequence[Shown]:
    """Return how a line's quantity comes about, as steps."""
    unit = "" if line["meter"] is None else f" {line['meter']['unit'] or ''}".rstrip()
    steps: list[Shown] = []
    if line["meter"] is not None:
        how = f"{_AGGREGATIONS[line['meter']['aggregation']]} of {line['event_count']:,} events"
        if line["meter"]["formula"]:
            how += f" by {line['meter']['formula']}"
        how += f" of {line['meter']['name']}"
        steps.append({"step": "quantity", "how": how, **_of(line, "quantity", unit)})
    if not _is_nothing(line["included_quantity"]):
        how = f"less {line['included_quantity']} included"
        steps.append({"step": "billable", "how": how, **_of(line, "billable_quantity", unit)})
    return steps


def _of(line: Shown, name: str, unit: str) -> Shown:
    return {"amount": f"{line[name]}{unit}", "exact_amount": line[f"exact_{name}"]}


def _is_nothing(number: object) -> bool:
    return not str(number).strip("-0.")


def _steps_table(steps: Sequence[Shown]) -> Table:
    table = Table.grid(padding=(0, 2))
    # As wide in every table, so that amounts stand below one another.
    table.add_column(width=17)
    table.add_column(overflow="fold", width=62)
    table.add_column(justify="right", overflow="fold", min_width=20)
    table.add_column()
    for row in _rows(steps):
        table.add_row(*row)
    return table


def _rows(steps: Sequence[Shown]) -> list[tuple[str, str, str, str]]:
    """Return steps as rows; what never ends is shown as a fraction."""
    return [
        (
            f"  {_WORDS.get(step['step'], step['step'])}",
            escape(step["how"]),
            str(step["exact_amount"] or step["amount"]),
            "",
        )
        for step in steps
    ]


def _mark(agrees: bool) -> str:
    return "[green]✓[/]" if agrees else "[bold red]✗ the document states otherwise[/]"


def print_events(console: Console, proof: Shown, found: Shown, page: int) -> None:
    """Print a page of events, with the places in the document of the lines that they are in."""
    places = {
        line["line_item_ref"]: str(line["position"])
        for product in proof["products"]
        for line in product["lines"]
    }
    if not found["events"]:
        console.print("no events feed what was asked for")
        return
    table = Table("event", "timestamp", "lines", box=None, pad_edge=False)
    table.add_column("quantity", justify="right")
    table.add_column("data", overflow="fold")
    for event in found["events"]:
        lines = [places[ref] for ref in event["line_item_refs"] if ref in places]
        data = event["additional_report_data"]
        table.add_row(
            event["event_ref"],
            event["timestamp"],
            ", ".join(sorted(lines, key=int)),
            str(event["quantity"]),
            "" if data is None else escape(str(data)),
        )
    console.print(table)
    more = f", more on page {page + 1}" if found["next_cursor"] else ", the last"
    console.print(f"[dim]page {page}{more}[/]")
