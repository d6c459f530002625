"""Draft contracts: edited freely, dropped, or published; and the calls that take either kind.

A draft is one row that nothing else reads (`contract_draft`), so nothing is rated or billed by it.
It is stored as the API shows it, which the API takes, too: publishing reads it like any body, and
settles and writes the contract by the code that makes every contract, so that usage of its past is
rated by the same back-fill.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
from aiohttp import web
from msgspec.structs import replace

from gateway.manage.answers import json_answer
from gateway.manage.body import Body, parse_object
from gateway.manage.context import (
    caller,
    name_of_caller,
    note,
    path_ref,
    queries,
    read_body,
    routes_of,
    transaction,
)
from gateway.manage.contract_cancelling import cancel_contract
from gateway.manage.contract_editing import edit_contract
from gateway.manage.contract_plan import Identity, merge_products
from gateway.manage.contract_writing import RefMaker, load_reference, settle, write_contract
from gateway.manage.contracts import contract_answers, draft_answer, draft_text
from gateway.manage.terms import Edit, read_cancellation, read_edit, read_publication
from gateway.manage.values import plain_date
from gateway.manage.values import ref as read_ref
from runtime.postgres import Connection
from schemas.errors import Conflict, NotFound
from schemas.event_ref import month_of, shard_key_of, tenant_bits

_ABSENT = (None, "")


async def publish_contract(request: web.Request) -> web.Response:
    """POST /api/contracts/publish/<contract_ref>: a draft counts from now on, its past too.

    It takes the next contract number and keeps its ref. Of what changed since it was written, a
    pricing or an entity, say, what holds now is checked again.
    """
    contract_ref = path_ref(request, "contract_ref")
    sent = await read_body(request)
    _check_ref(sent, contract_ref, read_publication(sent.fields))
    warnings = sent.finish()
    async with transaction(request) as (connection, tenant_id):
        key = (tenant_id, shard_key_of(contract_ref.int), contract_ref)
        draft = await connection.fetchrow(queries.hold_contract_draft, *key)
        if draft is None:
            raise await _no_draft(connection, key)
        body = sent.over(parse_object(draft["terms"].encode()))
        edit = read_edit(body.fields)
        body.finish()
        contract = replace(edit.contract, closes_ended=draft["closes_ended"])
        reference = await load_reference(body, connection, tenant_id, contract)
        products = settle(body, contract, reference)
        maker = RefMaker(
            month_of(contract_ref.int), key[1], tenant_bits(caller(request).tenant_ref)
        )
        await connection.execute(queries.drop_contract_draft, *key)
        await write_contract(
            *(connection, tenant_id, maker, contract, reference.customer, products),
            *(await name_of_caller(request, connection), contract_ref),
        )
        row = await connection.fetchrow(queries.find_contract, *key)
        assert row is not None, "it was written just now"
        (answer,) = await contract_answers(connection, tenant_id, key[1], [row])
        await note(request, connection, "contract.published", contract_ref, after=answer)
    return json_answer(answer, warnings=warnings)


async def _no_draft(connection: Connection, key: tuple[int, int, UUID]) -> Conflict | NotFound:
    """Return why there is nothing to publish."""
    if await connection.fetchrow(queries.find_contract, *key) is not None:
        return Conflict("contract_published", f"contract {key[2]} is published already")
    return NotFound("contract_unknown", f"there is no contract {key[2]}")


async def edit_any(request: web.Request) -> web.Response:
    """POST /api/contracts/edit/<contract_ref>: what is left out keeps its value.

    From the next period on, or with `include_current_invoice` from the beginning of the running
    one, which is rated anew. Periods that were closed keep the terms that they were closed with. A
    draft is changed freely.
    """
    contract_ref = path_ref(request, "contract_ref")
    sent = await read_body(request)
    async with transaction(request) as (connection, tenant_id):
        key = (tenant_id, shard_key_of(contract_ref.int), contract_ref)
        draft = await connection.fetchrow(queries.hold_contract_draft, *key)
        if draft is not None:
            shown = parse_object(draft["terms"].encode())
            body = _over_draft(sent, shown)
            edit = read_edit(body.fields)
            _check_edit(body, contract_ref, shown, edit)
            warnings = body.finish()
            answer = await _change_draft(connection, key, draft, body, edit)
            await note(
                *(request, connection, "contract.draft_edited", contract_ref),
                before=_shown(draft),
                after=sent.fields.values,
            )
            return json_answer(answer, warnings=warnings)
    return await edit_contract(request)


def _over_draft(sent: Body, shown: Mapping[str, Any]) -> Body:
    """Fill what a body leaves out from the draft as it stands."""
    given = {name: value for name, value in sent.fields.values.items() if value not in _ABSENT}
    merged = {**shown, **given}
    if "products" in given:
        products = sent.fields.items("products")
        sent.refuse()
        merged["products"], _ = merge_products(
            products or [], shown["products"], [_identity(one) for one in shown["products"]]
        )
    return sent.over(merged)


def _shown(draft: asyncpg.Record) -> dict[str, msgspec.Raw]:
    """Return a draft as it is shown, every digit of its numbers kept."""
    return msgspec.json.decode(draft["terms"], type=dict[str, msgspec.Raw])


def _identity(shown: Mapping[str, Any]) -> Identity:
    start = plain_date(shown["billing_start_date"])
    return Identity(read_ref(shown["pricing_ref"]), start, shown["timezone"])


def _check_edit(body: Body, contract_ref: UUID, shown: Mapping[str, Any], edit: Edit) -> None:
    """Note a problem for what a draft can't become by an edit."""
    _check_ref(body, contract_ref, body.fields.optional(read_ref, "contract_ref"))
    if str(edit.contract.customer_ref) != shown["customer_ref"]:
        detail = f"can't change: must be {shown['customer_ref']}, or left out"
        body.fields.add("customer_fixed", detail, "customer_ref")
    if body.fields.has("draft") and not edit.contract.is_draft:
        detail = f"is published by POST /api/contracts/publish/{contract_ref}, not by an edit"
        body.fields.add("draft_not_published", detail, "draft")


def _check_ref(body: Body, contract_ref: UUID, named: UUID | None) -> None:
    if named not in (None, contract_ref):
        detail = f"must be {contract_ref}, as in the path, or left out"
        body.fields.add("ref_differs", detail, "contract_ref")


async def _change_draft(
    connection: Connection,
    key: tuple[int, int, UUID],
    draft: asyncpg.Record,
    body: Body,
    edit: Edit,
) -> dict[str, Any]:
    """Settle a draft's terms anew and store it; returns how it is shown."""
    reference = await load_reference(body, connection, key[0], edit.contract)
    products = settle(body, edit.contract, reference)
    made_at: datetime = draft["made_at"]
    answer = draft_answer(key[2], edit.contract, reference.customer, products, made_at)
    former = _shown(draft)["closing"]
    # Posted back as it was shown it says no more than before; a change of it is a word.
    says = draft["closes_ended"] or edit.contract.closing != msgspec.json.decode(former)
    await connection.execute(queries.change_contract_draft, *key, draft_text(answer), says)
    return answer


async def cancel_any(request: web.Request) -> web.Response:
    """POST /api/contracts/cancel/<contract_ref>: the running period is the last.

    It is billed as usual; with `include_current_invoice` it ends with today, its fixed fees in
    proportion. What is used later is kept, unrated. A draft is dropped; the audit log keeps it.
    """
    contract_ref = path_ref(request, "contract_ref")
    body = await read_body(request)
    async with transaction(request) as (connection, tenant_id):
        key = (tenant_id, shard_key_of(contract_ref.int), contract_ref)
        draft = await connection.fetchrow(queries.hold_contract_draft, *key)
        if draft is not None:
            read_cancellation(body.fields)
            _check_ref(body, contract_ref, body.fields.optional(read_ref, "contract_ref"))
            warnings = body.finish()
            shown = _shown(draft)
            await connection.execute(queries.drop_contract_draft, *key)
            await note(request, connection, "contract.draft_dropped", contract_ref, before=shown)
            return json_answer(shown | {"state": "CANCELLED"}, warnings=warnings)
    return await cancel_contract(request)


ROUTES = [
    *routes_of(
        "POST",
        "/api/contracts/publish/{contract_ref}",
        publish_contract,
        "billing:write",
        reads=read_publication,
    ),
    *routes_of(
        "POST", "/api/contracts/edit/{contract_ref}", edit_any, "billing:write", reads=read_edit
    ),
    *routes_of(
        "POST",
        "/api/contracts/cancel/{contract_ref}",
        cancel_any,
        "billing:write",
        reads=read_cancellation,
    ),
]
