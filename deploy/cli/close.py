"""`meterline close`: closes periods at a call, and waits until they are."""

import logging
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Final

import msgspec
from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from deploy.cli.events import Flat, Target, connect
from deploy.usage_files.errors import GaveUp
from meterline_client import Client, ClientError, Limits

PAGE: Final = 100
LOOK_SECONDS: Final = 0.2
_PLAIN_WIDTH: Final = 200
_STACK: Final = Target()


def close(
    *,
    through: Annotated[
        str | None, Parameter(help="The last day, YYYY-MM-DD; without it yesterday, in UTC.")
    ] = None,
    contract: Annotated[tuple[str, ...], Parameter(negative="", help="Refs of contracts.")] = (),
    customer: Annotated[
        tuple[str, ...], Parameter(negative="", help="Refs of customers: all their contracts.")
    ] = (),
    all_: Annotated[
        bool, Parameter(name="--all", negative="", help="Every contract of the tenant.")
    ] = False,
    wait: Annotated[float, Parameter(help="Seconds to wait for it; 0: only ask.")] = 600.0,
    target: Annotated[Target, Flat] = _STACK,
    is_json: Annotated[bool, Parameter(name="--json", negative="", help="Print JSON.")] = False,
) -> None:
    """Close the periods that end by a day, once all usage sent before is rated; and wait for it.

    There is no grace, and nothing unsettled holds a period. What had been closed and has moved
    since is closed once more. The exit code is 0 when all is closed, 2 when it was not in time:
    it goes on. The key needs the scopes billing:read and billing:write.

    For example:

        meterline close --contract 13f5c1aa-0b9e-8c7d-9e1f-2a3b4c5d6e7f
        meterline close --through 2026-10-31 --customer 0f8fad5b-d9cb-469f-a165-70867728950e
        meterline close --all --json | jq '.[] | select(.state != "DONE")'
    """
    logging.getLogger("meterline_client").setLevel(logging.CRITICAL)  # the answer says it all
    if not (contract or customer or all_):
        raise GaveUp("say what to close: --contract, --customer or --all")
    last = through or (datetime.now(UTC).date() - timedelta(days=1)).isoformat()
    try:
        date.fromisoformat(last)
    except ValueError:
        raise GaveUp(f"--through: {last!r} is no day as in 2026-10-31") from None
    client = connect(target, Limits())
    try:
        refs = list(dict.fromkeys([*contract, *_contracts(client, customer, all_)]))
        for ref in refs:
            client.request("POST", f"/api/contracts/close/{ref}", {"through": last})
        found = _await(client, refs, wait)
    except ClientError as error:
        raise GaveUp(str(error)) from None
    finally:
        client.close(0)
    _tell(found, is_json=is_json)
    sys.exit(0 if all(row["state"] == "DONE" for row in found) else GaveUp.exit_code)


def _contracts(client: Client, customers: Sequence[str], is_all: bool) -> Iterator[str]:
    """Yield the contracts of customers, or of every one."""
    if is_all:
        named = client.request("GET", "/api/customers/names")["customers"]
        customers = [row["customer_ref"] for row in named]
    for customer in customers:
        for number in range(sys.maxsize):
            query = {"customer_ref": customer, "pageSize": PAGE, "pageNumber": number}
            page = client.request("GET", "/api/contracts/filter", **query)
            yield from (row["contract_ref"] for row in page)
            if len(page) < PAGE:
                break


def _await(client: Client, refs: Sequence[str], seconds: float) -> list[dict[str, Any]]:
    """Ask how far each contract's closing is, until all are done or the time is over."""
    deadline = time.monotonic() + seconds
    found = []
    for ref in refs:
        progress = client.request("GET", f"/api/contracts/close/{ref}")
        while progress["state"] != "DONE" and time.monotonic() < deadline:
            time.sleep(LOOK_SECONDS)
            progress = client.request("GET", f"/api/contracts/close/{ref}")
        found.append(progress)
    return found


def _tell(found: Sequence[dict[str, Any]], *, is_json: bool) -> None:
    if is_json:
        sys.stdout.buffer.write(msgspec.json.encode(found) + b"\n")
        return
    table = Table("contract", "state", "periods closed", box=None, pad_edge=False)
    for row in found:
        table.add_row(row["contract_ref"], row["state"], f"{row['periods_closed']:,}")
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console = Console(highlight=False, markup=False, width=_PLAIN_WIDTH)
    console.print(table)
