"""`meterline demo`: a month of usage becomes invoices, and the books are proved."""

import asyncio
import logging
import os
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from signal import SIGTERM
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from deploy.cli.demo_own import survey_own, tell_own_story
from deploy.cli.demo_tables import loading, print_balances, print_walk, step
from deploy.cli.demo_telling import Telling
from deploy.cli.verify import wide_console
from deploy.demo import catalogue
from deploy.demo.load import send_sample
from deploy.demo.own_file import OwnFile
from deploy.demo.sample import read_sample
from deploy.demo.story import (
    close_period,
    make_shop,
    note_payment,
    sign_contracts,
    wait_for_invoices,
)
from deploy.local.children import Child, ChildSpec
from deploy.local.errors import StackError, StackNotFound, StateDirectoryInUse
from deploy.local.find import StackAddress, find_stack
from deploy.local.state import is_held
from deploy.verify.report import Report
from meterline_client import ClientError

DEMO_STATE = Path("var/demo")
START_SECONDS_MAX = 300.0


def demo(
    *,
    state: Annotated[Path, Parameter(name="--state")] = DEMO_STATE,
    csv: Annotated[Path | None, Parameter(name="--csv")] = None,
    map_: Annotated[tuple[str, ...], Parameter(name="--map", negative="")] = (),
    price: Annotated[str, Parameter(name="--price")] = "0.01",
) -> None:
    """Bill a month of usage of eight customers, from the events to the invoices' PDFs.

    Starts the whole stack, makes meters, prices, customers and contracts over HTTP, sends 100,000
    events with retries, conflicts and broken ones among them (one customer writes into Kafka
    itself), closes the month, shows the invoices, and proves the books with `meterline verify`.
    With --csv it does so with your own usage. Stops everything at the end; the data stays for
    `meterline up`.

    Examples:

        meterline demo
        meterline demo --csv usage.csv --map timestamp=ts,customer=account,meter=sku,quantity=n

    Parameters
    ----------
    state
        Directory of the demonstration's data; an earlier demonstration in it is replaced.
    csv
        A usage file of your own, also as .gz or .xz: every month in it that is over is billed.
    map_
        Which of its columns is what, as in `meterline events send`; customers and meters by name.
    price
        What a unit of each of its meters costs.
    """
    logging.getLogger("meterline_client").setLevel(logging.CRITICAL)  # the story says it all
    console = wide_console()
    began = time.monotonic()
    own = None if csv is None else survey_own(OwnFile(path=csv, maps=map_))
    _clear(state)
    with step(console, "Kafka, PostgreSQL, gateway, rater and invoicer are up"):
        stack, address = _start(state)
    try:
        telling = Telling(console, address, state / "demo")
        story = _tell_story(telling) if own is None else tell_own_story(telling, own, price)
        report, curl = asyncio.run(story)
    except ClientError as error:
        raise StackError(str(error)) from error
    finally:
        stack.stop()
    console.print(f"\nAll of it in {time.monotonic() - began:.0f} s. Nothing runs any more.")
    _print_next_steps(console, state, curl)
    if not report.is_good:
        sys.exit(report.exit_code)


def _clear(state: Path) -> None:
    """Remove an earlier demonstration; anything else in the way is not ours to remove."""
    if is_held(state):
        raise StateDirectoryInUse(
            f"a stack runs in {state}; stop it first, or pass another --state"
        )
    if (state / "demo").exists():
        shutil.rmtree(state)
    elif state.exists() and any(state.iterdir()):
        raise StackError(f"{state} is not an earlier demonstration; pass another --state")
    (state / "demo").mkdir(parents=True)


def _start(state: Path) -> tuple[Child, StackAddress]:
    """Start `meterline up` as our child, and wait until it is ready."""
    command = (sys.executable, "-P", "-m", "deploy.cli", "up", "--json", "--state", str(state))

    def is_ready(_pid: int) -> bool:
        try:
            find_stack(state, {})
        except StackNotFound:
            return False
        return True

    stack = Child(
        ChildSpec(
            name="the stack",
            command=command,
            log=state / "logs" / "up.log",
            is_ready=is_ready,
            ready_seconds_max=START_SECONDS_MAX,
            orphan_signal=SIGTERM,
            stop_seconds_max=60.0,
            env={"PYTHONUNBUFFERED": "1"},
        )
    )
    try:
        stack.wait_ready()
    except BaseException:
        stack.stop()
        raise
    return stack, find_stack(state, {})


async def _tell_story(telling: Telling) -> tuple[Report, str]:
    """Go through the steps; return what `verify` found, and the curl that sends an event."""
    console, address = telling.console, telling.address
    early = [name for name in catalogue.customer_names() if name != catalogue.LATE_CUSTOMER]
    async with telling.client() as client:
        with step(
            console, "An entity, 3 meters, 4 prices, 8 customers, 7 contracts made over HTTP"
        ):
            shop = await make_shop(client)
            contracts = await sign_contracts(client, shop, early)
        rows = sum(1 for _ in read_sample())
        with loading(console, "October's usage", rows) as progress:
            sent = await send_sample(
                client, address.kafka, address.topic_prefix, shop.names, progress
            )
        console.print(
            f"  {sent.over_http:,} acknowledged over HTTP, {sent.into_kafka:,} written into Kafka "
            f"by a producer of its own, {sent.refused} refused with a reason"
        )
        with step(console, f"{catalogue.LATE_CUSTOMER} signs now: its usage so far is rated"):
            contracts |= await sign_contracts(client, shop, [catalogue.LATE_CUSTOMER])
        with step(console, "October closed, invoices issued"):
            await close_period(client, contracts)
            documents = await wait_for_invoices(client, contracts)
        paths = await telling.save_pdfs(client, documents)
        with step(console, "A payment of 1,000.00 noted for the greatest invoice"):
            await note_payment(client, documents[0], "1000")
        print_balances(console, await client.request("GET", "/api/reports/trial-balance"))
        details = await client.request("GET", f"/api/invoices/{documents[1]['invoice_ref']}")
    _print_invoices(console, documents)
    print_walk(console, details, catalogue.TAX_PERCENT)
    console.print(f"\nAs it looks: [bold]{paths[1]}[/], and {len(paths) - 1} more beside it\n")
    report = await telling.prove(sent)
    customer, meter = catalogue.customer_names()[0], catalogue.METERS[0]["name"]
    return report, telling.curl(shop.names, customer, meter)


def _print_invoices(console: Console, documents: Sequence[Mapping[str, Any]]) -> None:
    table = Table(title="\nInvoices of October 2026", title_justify="left")
    table.add_column("Number")
    table.add_column("Customer")
    for name in ("Platform fee", "API calls", "Storage", "Messages", "Tax", "Total"):
        table.add_column(name, justify="right")
    for document in documents:
        lines = document["products"][0]["lines"]
        amounts = [f"{line['amount']:,.2f}" for line in lines]
        table.add_row(
            document["document_number"],
            document["customer"]["customer_name"],
            *amounts,
            f"{document['total_tax']:,.2f}",
            f"[bold]{document['total']:,.2f}[/] {document['currency']}",
        )
    console.print(table)


def _print_next_steps(console: Console, state: Path, curl: str) -> None:
    console.print(
        "\nStart it again on the same data, and leave it running:\n"
        f"  [bold].venv/bin/meterline up --state {os.path.relpath(state)}[/]\n"
    )
    console.print(curl, markup=False, soft_wrap=True)
