"""`meterline demo --csv FILE`: the demonstration on a usage file of one's own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from deploy.cli.demo_tables import loading, print_walk, step
from deploy.cli.demo_telling import Telling
from deploy.demo.own_file import (
    OwnFile,
    Survey,
    make_own_shop,
    send_own_file,
    sign_own_contracts,
    survey,
)
from deploy.demo.story import close_period, wait_for_invoices
from deploy.verify.report import Report

INVOICES_SHOWN: Final = 40
METERS_SHOWN: Final = 5
PDFS_MAX: Final = 20


@dataclass(frozen=True, kw_only=True)
class Own:
    """A file, and what is in it."""

    file: OwnFile
    found: Survey


def survey_own(file: OwnFile) -> Own:
    """Look through the file before anything is started. Raises StackError."""
    return Own(file=file, found=survey(file, datetime.now(UTC).date()))


async def tell_own_story(telling: Telling, own: Own, price: str) -> tuple[Report, str]:
    """Go through the steps; return what `verify` found, and the curl that sends an event."""
    console, found = telling.console, own.found
    async with telling.client() as client:
        name = (
            f"{len(found.meters):,} meters at {price}, {len(found.customers):,} customers and "
            f"their contracts from {found.first} through {found.last} made over HTTP"
        )
        with step(console, name):
            shop = await make_own_shop(client, found, price)
            contracts = await sign_own_contracts(client, shop, found)
        with loading(console, own.file.path.name, found.rows) as progress:
            sent = await send_own_file(client, own.file, shop.names, progress)
        console.print(f"  {sent.over_http:,} acknowledged, {sent.refused:,} refused with a reason")
        with step(console, f"{found.months} months closed, invoices issued"):
            await close_period(client, contracts, found.last.isoformat())
            documents = await wait_for_invoices(client, contracts, found.months)
        paths = await telling.save_pdfs(client, documents[:PDFS_MAX])
        ref = documents[0]["invoice_ref"]
        details = await client.request("GET", f"/api/invoices/{ref}")
    _print_invoices(console, documents, found.meters)
    print_walk(console, details, "0")
    console.print(f"\nAs it looks: [bold]{paths[0]}[/], and {len(paths) - 1} more beside it\n")
    report = await telling.prove(sent)
    return report, telling.curl(shop.names, found.customers[0], found.meters[0])


def _print_invoices(
    console: Console, documents: Sequence[Mapping[str, Any]], meters: Sequence[str]
) -> None:
    """Print the greatest invoices, a column for each of the first meters."""
    table = Table(title="\nInvoices", title_justify="left")
    for name in ("Number", "Customer", "Period"):
        table.add_column(name)
    shown = meters[:METERS_SHOWN]
    for name in (*shown, *(["Other"] if len(meters) > len(shown) else []), "Total"):
        table.add_column(escape(name), justify="right")
    for document in documents[:INVOICES_SHOWN]:
        lines = {line["item"]: line["amount"] for line in document["products"][0]["lines"]}
        amounts = [lines.pop(name, 0) for name in shown]
        if len(meters) > len(shown):
            amounts.append(sum(lines.values()))
        table.add_row(
            document["document_number"],
            escape(document["customer"]["customer_name"]),
            str(document["period"]["start"])[:7],
            *(f"{amount:,.2f}" for amount in amounts),
            f"[bold]{document['total']:,.2f}[/] {document['currency']}",
        )
    console.print(table)
    if len(documents) > INVOICES_SHOWN:
        rest = documents[INVOICES_SHOWN:]
        total = sum(document["total"] for document in rest)
        console.print(f"… and {len(rest):,} smaller ones of {total:,.2f} together")
