"""Edits and ends contracts: a new version of what changes, from a bound of its periods on.

The version's rows are added and announced to the rater, which rates by them what was used already
and then swaps them in at once. Nothing that stands is changed, and no period has two versions.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final, Literal
from uuid import UUID

import asyncpg
import msgspec
from aiohttp import web
from msgspec import Struct

from gateway.manage.answers import json_answer
from gateway.manage.body import Body, parse_json
from gateway.manage.boundaries import Standing
from gateway.manage.changes import announce
from gateway.manage.context import (
    caller,
    name_of_caller,
    note,
    path_ref,
    queries,
    read_body,
    transaction,
)
from gateway.manage.contract_plan import (
    Asked,
    Change,
    Identity,
    billed_behind,
    groups_of,
    in_its_term,
    merge_products,
    plan,
    rated_anew,
)
from gateway.manage.contract_writing import (
    Place,
    RefMaker,
    add_product,
    load_reference,
    payable,
    refuse_archived,
    settle,
    terms_row,
)
from gateway.manage.contracts import contract_answers
from gateway.manage.parts import PaymentDetails
from gateway.manage.terms import Edit, Payable, read_edit
from gateway.manage.values import DUE_UPON_USAGE
from gateway.manage.values import ref as read_ref
from runtime.postgres import Connection
from schemas.contract_lifecycle import ContractState, ways_from
from schemas.errors import Conflict, InvalidInput, NotFound
from schemas.event_ref import month_of, shard_key_of, tenant_bits

_DAY: Final = timedelta(days=1)
_ABSENT: Final = (None, "")
_encode: Final = msgspec.json.Encoder().encode

Kind = Literal["EDITED", "CANCELLED"]


class Contract(Struct, frozen=True):
    """A contract that is to change: its row, locked, and its products, of all versions."""

    tenant_id: int
    row: asyncpg.Record
    products: Sequence[Standing]
    shown: Mapping[str, Any]

    @property
    def key(self) -> tuple[int, int, UUID]:
        """The tenant, the shard key and the ref."""
        return self.tenant_id, self.row["shard_key"], self.row["contract_ref"]

    @property
    def next_version(self) -> int:
        """The number of the version to make."""
        version: int = self.row["version"] + 1
        return version

    @property
    def standing(self) -> list[Standing]:
        """The products of the last version."""
        return [one for one in self.products if not one.row["is_over"]]


async def hold_contract(connection: Connection, tenant_id: int, contract_ref: UUID) -> Contract:
    """Load a contract, and keep others from changing it. Raises NotFound and Conflict."""
    key = (tenant_id, shard_key_of(contract_ref.int))
    row = await connection.fetchrow(queries.hold_contract, *key, contract_ref)
    if row is None:
        raise NotFound("contract_unknown", f"there is no contract {contract_ref}")
    if not ways_from(ContractState(row["state"])):
        raise Conflict("contract_cancelled", f"contract {contract_ref} was cancelled already")
    rows = await connection.fetch(
        queries.list_contract_products,
        *key,
        [contract_ref],
        True,
    )
    lines: dict[UUID, list[asyncpg.Record]] = {r["contract_product_ref"]: [] for r in rows}
    for line in await connection.fetch(queries.list_contract_lines, *key, [contract_ref]):
        lines[line["contract_product_ref"]].append(line)
    products = [Standing.of(r, lines[r["contract_product_ref"]]) for r in rows]
    (shown,) = await contract_answers(connection, *key, [row])
    return Contract(tenant_id, row, products, shown)


def refuse_single_events(contract: Contract, wanted: Sequence[str] = ()) -> None:
    """Refuse to rate a running period anew whose events have documents of their own.

    wanted: the payment terms that its products are to have. Raises InvalidInput.
    """
    terms = {*(one.row["net_terms"] for one in contract.standing), *wanted}
    if DUE_UPON_USAGE in terms:
        detail = (
            "can't be true where events are billed one by one: those of the running period have "
            "their documents already; let it count from the next period on"
        )
        raise InvalidInput("not_supported_yet", detail, "/include_current_invoice")


async def edit_contract(request: web.Request) -> web.Response:
    """POST /api/contracts/edit/<contract_ref>: what is left out keeps its value.

    From the next period on, or with `include_current_invoice` from the beginning of the running
    one, which is rated anew. Periods that were closed keep the terms that they were closed with.
    """
    contract_ref = path_ref(request, "contract_ref")
    sent = await read_body(request)
    now = datetime.now(UTC)
    async with transaction(request) as (connection, tenant_id):
        contract = await hold_contract(connection, tenant_id, contract_ref)
        body, matched = _merged(sent, contract)
        edit = read_edit(body.fields)
        _check_fixed(body, contract, edit)
        warnings = body.finish()
        reference = await load_reference(body, connection, tenant_id, edit.contract)
        settled = settle(body, edit.contract, reference)
        settled = [in_its_term(one, matched[p], now) for p, one in enumerate(settled)]
        if edit.includes_current:
            refuse_single_events(contract, [one.net_terms for one in settled])
        asked = [Asked(one, p, matched[p]) for p, one in enumerate(settled)]
        rows = [_terms(one, reference.customer) for one in asked]
        changes, afresh = await _plan(body, connection, contract, edit, asked, rows, now)
        own = edit.contract
        header = (own.po_number, own.closing, own.review, own.invoice_mode)
        if changes or header != header_of(contract.row):
            version = Version("EDITED", edit.includes_current, header, "ACTIVE")
            await begin(request, connection, contract, version)
            place, products = contract.row["shard_key"], list(rated_anew(changes))
            await refuse_archived(connection, place, reference.customer, products)
            await _write_changes(
                request, connection, contract, changes, header, reference.customer, afresh=afresh
            )
            after = sent.fields.values
            await note(
                *(request, connection, "contract.edited", contract_ref),
                before=contract.shown,
                after=after,
            )
        answer = await show(connection, contract)
    return json_answer(answer, warnings=warnings)


async def _plan(
    body: Body,
    connection: Connection,
    contract: Contract,
    edit: Edit,
    asked: Sequence[Asked],
    rows: Sequence[tuple[Any, ...]],
    now: datetime,
) -> tuple[list[Change], bool]:
    """Return what changes, and whether no document is to have products of before and of after.

    rows: the terms asked for, as they are stored. What running periods have billed ahead already is
    given back by the documents that bill them anew; so these are others than those that were to
    settle it, and all products that shared these go along.
    """
    products, anew = contract.products, edit.includes_current
    afresh = edit.contract.invoice_mode != contract.row["invoice_mode"]
    changes = plan(
        asked, products, rows, now, includes_current=anew, regroups=afresh and len(asked) > 1
    )
    body.refuse()
    if not anew:
        return changes, afresh
    if changes and not afresh:
        refs = [one.ref for one in products]
        key = (contract.tenant_id, contract.row["shard_key"])
        since = min(change.from_date for change in changes)
        afresh = await connection.fetchval(queries.have_billed_ahead, *key, refs, since)
        if afresh:
            changes = plan(asked, products, rows, now, includes_current=True, regroups=True)
            body.refuse()
    return [billed_behind(change, rows, now) for change in changes], afresh


def _merged(sent: Body, contract: Contract) -> tuple[Body, list[Standing | None]]:
    """Fill what a body leaves out from the contract as it stands."""
    shown = parse_json(_encode(contract.shown))
    assert isinstance(shown, dict)
    given = {name: value for name, value in sent.fields.values.items() if value not in _ABSENT}
    merged = {**shown, **given}
    matched: list[Standing | None] = list(contract.standing)
    if "products" in given:
        products = sent.fields.items("products")
        sent.refuse()
        merged["products"], places = merge_products(
            products or [], shown["products"], [_identity(one) for one in contract.standing]
        )
        matched = [None if place is None else contract.standing[place] for place in places]
    return sent.over(merged), matched


def _identity(one: Standing) -> Identity:
    row = one.row
    return Identity(row["pricing_ref"], row["billing_start_date"], row["timezone"])


def _check_fixed(body: Body, contract: Contract, edit: Edit) -> None:
    """Note a problem for what can't be changed."""
    row, fields = contract.row, body.fields
    named = body.fields.optional(read_ref, "contract_ref")
    if named is not None and named != row["contract_ref"]:
        detail = f"must be {row['contract_ref']}, as in the path, or left out"
        fields.add("ref_differs", detail, "contract_ref")
    if edit.contract.customer_ref not in (None, row["customer_ref"]):
        detail = f"can't change: must be {row['customer_ref']}, or left out"
        fields.add("customer_fixed", detail, "customer_ref")
    if edit.contract.is_draft:
        fields.add("draft_published", "can't become a draft again; cancel it instead", "draft")


def _terms(asked: Asked, customer: asyncpg.Record) -> tuple[Any, ...]:
    """Return a product's terms as they are stored; its time zone stays with its entity."""
    row, former = terms_row(asked.settled, customer), asked.former
    if former is None or former.row["entity_id"] != row[1]:
        return row
    return (*row[:3], former.row["timezone"], *row[4:])


Header = tuple[str | None, str, str, str]


def header_of(row: asyncpg.Record) -> Header:
    """Return what a contract has besides its products.

    That is its order number, who closes, what is reviewed, and what shares documents.
    """
    return row["po_number"], row["closing"], row["review"], row["invoice_mode"]


class Version(Struct, frozen=True):
    """What a new version is besides its products. header: as `header_of`."""

    kind: Kind
    includes_current: bool
    header: Header
    state: str


async def begin(
    request: web.Request, connection: Connection, contract: Contract, version: Version
) -> None:
    """Announce a new version, and note who made it."""
    tenant_id, place, contract_ref = contract.key
    await announce(
        connection,
        tenant_id,
        kind="CONTRACT",
        shard_key=place,
        customer_id=contract.row["customer_id"],
        contract_ref=contract_ref,
        version=contract.next_version,
    )
    row = (place, contract_ref, contract.next_version, tenant_id, version.kind)
    made_by = await name_of_caller(request, connection)
    await connection.execute(queries.add_contract_version, *row, version.includes_current, made_by)
    await connection.execute(
        queries.change_contract,
        *(*contract.key, contract.next_version, *version.header, version.state),
    )


async def _write_changes(
    request: web.Request,
    connection: Connection,
    contract: Contract,
    changes: Sequence[Change],
    header: Header,
    customer: asyncpg.Record,
    *,
    afresh: bool,
) -> None:
    """Add the products of a new version, and what they take the place of.

    afresh: none of them shares documents with what was there before.
    """
    tenant_id, place, contract_ref = contract.key
    maker = RefMaker(month_of(contract_ref.int), place, tenant_bits(caller(request).tenant_ref))
    standing = {one.ref: _standing_payable(one, customer) for one in contract.products}
    wanted = [None if c.settled is None else payable(c.settled, customer) for c in changes]
    groups = groups_of(
        *(changes, contract.products, standing, wanted),
        is_collective=header[-1] == "COLLECTIVE",
        afresh=afresh,
    )
    for change, group in zip(changes, groups, strict=True):
        gives_back = change.settled is not None and change.is_anew
        await refuse_closed(
            connection, contract, change.ended, change.from_date, gives_back=gives_back
        )
        successor = None
        if change.settled is not None:
            key = (tenant_id, contract_ref, change.position, group, contract.next_version)
            asked = Asked(change.settled, change.position, change.former)
            terms = change.carry(_terms(asked, customer))
            stands = Place(
                *key,
                since=change.since if change.ahead_since is None else change.from_date,
                carries_on=change.carries_on,
                ahead_since=change.ahead_since,
            )
            lines = change.settled.lines
            successor = await add_product(connection, maker, stands, terms, lines)
        await end(connection, contract, "EDITED", change.ended, change.from_date, successor)


def _standing_payable(one: Standing, customer: asyncpg.Record) -> Payable:
    row = one.row
    own, others = (
        msgspec.json.decode(text, type=PaymentDetails)
        for text in (row["details"], customer["details"])
    )
    return Payable(row["entity_id"], row["currency"], row["net_terms"], own.over(others))


async def end(
    connection: Connection,
    contract: Contract,
    kind: Kind,
    ended: Sequence[Standing],
    from_date: date,
    successor: UUID | None,
) -> None:
    """Note from which day on products end, and what takes their place."""
    tenant_id, place, contract_ref = contract.key
    rows = [
        (place, one.ref, contract.next_version, tenant_id, contract_ref, kind, from_date, successor)
        for one in ended
    ]
    await connection.executemany(queries.add_succession, rows)


async def refuse_closed(
    connection: Connection,
    contract: Contract,
    ended: Sequence[Standing],
    day: date,
    *,
    gives_back: bool = False,
) -> None:
    """Raise Conflict where a period that would have to be rated anew was closed, or billed ahead.

    gives_back: what takes the place of the one from that day on gives back its part.
    """
    refs = [one.ref for one in ended]
    key = (contract.tenant_id, contract.row["shard_key"])
    closed = await connection.fetchval(queries.find_closed_since, *key, refs, day, gives_back)
    if closed is not None:
        detail = (
            f"the period from {closed} on was closed, or billed ahead, and keeps its terms: "
            "leave include_current_invoice out"
        )
        raise Conflict("period_closed", detail)


async def show(connection: Connection, contract: Contract) -> dict[str, Any]:
    """Show a contract as it has become."""
    row = await connection.fetchrow(queries.find_contract, *contract.key)
    assert row is not None, "it is locked"
    (answer,) = await contract_answers(connection, *contract.key[:2], [row])
    return answer
