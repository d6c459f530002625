"""`meterline explain`: a document as a person would compute it again, and the events behind it."""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Annotated, Final
from uuid import UUID

import asyncpg
import msgspec
from cyclopts import Parameter, validators
from rich.console import Console

from deploy.cli.explain_tables import print_events, print_proof
from deploy.local.errors import StackError
from deploy.local.find import find_stack
from gateway.reports.proof import (
    PAGE_DEFAULT,
    Asked,
    Place,
    page_of,
    prove_document,
    read_place,
)
from runtime.postgres import Connection, Queries
from schemas.errors import BillingError, InvalidInput
from schemas.event_ref import canonical_ref, shard_key_of
from schemas.proof_figures import Answer

queries: Final = Queries.beside(__file__, "explain.sql")

_PLAIN_WIDTH: Final = 200
_EXIT_DISAGREES: Final = 1


class NotExplained(StackError):
    """What was asked for is not there, or names more than one thing. Exit code 2."""

    exit_code = 2


def explain(
    invoice: str,
    line: str | None = None,
    *,
    events: Annotated[bool, Parameter(name="--events", negative="")] = False,
    page: Annotated[int, Parameter(name="--page", validator=validators.Number(gte=1))] = 1,
    state: Annotated[Path | None, Parameter(name="--state")] = None,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Walk a document as a person would check it: each line, each product, the total.

    Of each line the cut, the price version, the tiers, the fees, the rounding, and the SHA-256 of
    its events; a credit or a debit as what the document says now less what was issued. All is
    computed again from the cuts: the exit code is 0 when it is what the document states, 1 when it
    is not, 2 when there is no such document or line.

    For example:

        meterline explain INV-2026-007
        meterline explain INV-2026-007 2 --events --page 3
        meterline explain INV-2026-007 --json | jq '.products[].lines[].steps'

    Parameters
    ----------
    invoice
        A document's number or ref.
    line
        Ref of a line item, or a line's place in the document, from 1.
    events
        List the events in the lines instead, a page at a time.
    page
        Which page of the events, from 1.
    state
        Directory of a running stack; without it METERLINE_KAFKA and METERLINE_POSTGRES decide.
    as_json
        Print one line of JSON, as GET /api/invoices/<ref>/proof answers it.
    """
    address = find_stack(state, os.environ)
    proof, found = asyncio.run(_load(address.postgres, invoice, line, page if events else None))
    if as_json:
        sys.stdout.buffer.write(msgspec.json.encode(found or proof) + b"\n")
    else:
        _print(proof, found, page)
    sys.exit(0 if proof["agrees"] else _EXIT_DISAGREES)


def _print(proof: Answer, found: Answer | None, page: int) -> None:
    console = _console()
    shown = _as_text(proof)
    if found is None:
        print_proof(console, shown)
    else:
        print_events(console, shown, _as_text(found), page)


def _as_text(answer: Answer) -> Answer:
    """Return an answer as JSON shows it, every number with its digits."""
    shown: Answer = json.loads(msgspec.json.encode(answer), parse_float=str)
    return shown


def _console() -> Console:
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_PLAIN_WIDTH)


async def _load(
    dsn: str, invoice: str, line: str | None, page: int | None
) -> tuple[Answer, Answer | None]:
    """Return the proof, of one line where that is asked for; and a page of events."""
    try:
        connection = await asyncpg.connect(dsn, timeout=10)
    except (OSError, TimeoutError, asyncpg.PostgresError) as error:
        reason = str(error) or type(error).__name__
        raise NotExplained(f"the database can't be read: {reason}") from error
    try:
        tenant_id, document_ref = await find_document(connection, invoice)
        proof = await prove_document(connection, tenant_id, document_ref)
        assert proof is not None, "it was found"
        refs = None if line is None else _choose(proof, line)
        found = None
        if page is not None:
            found = await _events(connection, tenant_id, document_ref, refs, page)
    except BillingError as error:
        raise NotExplained(error.detail) from error
    else:
        return proof, found
    finally:
        await connection.close()


async def find_document(connection: Connection, invoice: str) -> tuple[int, UUID]:
    """Return the tenant and the ref of the one document that is meant."""
    try:
        ref = UUID(canonical_ref(invoice))
    except InvalidInput:
        rows = await connection.fetch(queries.find_by_number, invoice)
    else:
        rows = await connection.fetch(queries.find_owner, ref, shard_key_of(ref.int))
    if not rows:
        raise NotExplained(f"there is no document {invoice}, or it is not drawn up yet")
    if len(rows) > 1:
        refs = ", ".join(str(row["document_ref"]) for row in rows)
        raise NotExplained(
            f"several documents bear the number {invoice}: name one by its ref, {refs}"
        )
    return rows[0]["tenant_id"], rows[0]["document_ref"]


def _choose(proof: Answer, line: str) -> UUID:
    """Keep the line that is meant in a proof; return its line item."""
    lines = [one for product in proof["products"] for one in product["lines"]]
    wanted = line.lower()
    chosen = [one for one in lines if wanted in (str(one["line_item_ref"]), str(one["position"]))]
    if not chosen:
        known = ", ".join(f"{one['position']} ({one['item']})" for one in lines)
        raise NotExplained(f"the document has no line {line}; it has {known or 'none'}")
    for product in proof["products"]:
        product["lines"] = [one for one in product["lines"] if one in chosen]
    proof["products"] = [product for product in proof["products"] if product["lines"]]
    ref: UUID = chosen[0]["line_item_ref"]
    return ref


async def _events(
    connection: Connection, tenant_id: int, document_ref: UUID, line: UUID | None, page: int
) -> Answer:
    """Return a page of events; the pages before it are passed over."""
    place = Place()
    for number in range(1, page + 1):
        asked = Asked(line, place, PAGE_DEFAULT)
        found = await page_of(connection, tenant_id, document_ref, asked)
        assert found is not None, "it was found"
        if number == page:
            return found
        if found["next_cursor"] is None:
            raise NotExplained(f"there are {number} pages of events, and no page {page}")
        place = read_place(found["next_cursor"])
    raise AssertionError("pages count from 1")
