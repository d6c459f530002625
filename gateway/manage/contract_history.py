"""`GET /api/contracts/history/<contract_ref>`: who changed what of a contract, and when.

It is read from the audit log, which has what the API showed before each change; what was after it
is what was before the next one, or what is shown now. There is no second log.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Final
from uuid import UUID
from zoneinfo import ZoneInfo

import asyncpg
import msgspec
from aiohttp import web
from msgspec import Struct

from gateway.manage import values
from gateway.manage.answers import json_answer, page_answer, read_cursor
from gateway.manage.body import Fields
from gateway.manage.context import path_ref, queries, read_query, routes_of, transaction
from gateway.manage.contract_changes import Change, Shown, changes_between, read_shown
from gateway.manage.contracts import contract_answers
from runtime.postgres import Connection
from schemas.contract_lifecycle import BEGINNINGS, ContractState, phase_of, state_after
from schemas.errors import NotFound
from schemas.event_ref import shard_key_of

PAGE_MAX: Final = 1_000
PAGE_DEFAULT: Final = 100

_encode: Final = msgspec.json.Encoder(decimal_format="number").encode


class Page(Struct, frozen=True):
    """How many entries are asked for, and the number of the last one that was seen."""

    limit: int
    before: int | None


class Entry(Struct, frozen=True):
    """One change. changes: None where the contract was too large for the log to keep it."""

    number: int
    at: str
    actor: str
    made_by: str
    action: str
    version: int | None
    state: ContractState | None
    changes: list[Change] | None


class History(Struct, frozen=True):
    """A page of a contract's history, the newest first, and how it stands today."""

    contract_ref: UUID
    state: ContractState
    phase: str | None
    entries: list[Entry]
    last: int | None


def read_page(fields: Fields) -> Page:
    """Read the query."""
    return Page(
        limit=fields.optional(values.whole(1, PAGE_MAX), "limit") or PAGE_DEFAULT,
        before=fields.optional(read_cursor, "cursor"),
    )


async def load_history(
    connection: Connection, tenant_id: int, contract_ref: UUID, page: Page, now: datetime
) -> History:
    """Read a page of a contract's history. Raises NotFound where there never was such a one."""
    current = await _shown(connection, tenant_id, contract_ref)
    # One more at either end: what is newer tells how the newest one left the contract.
    asked = (str(contract_ref), page.before, page.limit + 2)
    rows = await connection.fetch(queries.list_contract_changes, tenant_id, *asked)
    newer, rows = _split(rows, page.before)
    if current is None and not rows and newer is None:
        raise NotFound("contract_unknown", f"there is no contract {contract_ref}")
    after = {} if current is None else current
    shown_after: Shown | None = after if newer is None else _before(newer)
    entries = []
    for row in rows[: page.limit]:
        before = _before(row)
        entries.append(_entry(row, before, shown_after))
        shown_after = before
    state = ContractState(after.get("state", ContractState.CANCELLED))
    return History(
        contract_ref=contract_ref,
        state=state,
        phase=_phase(after, now) if after and state is not ContractState.DRAFT else None,
        entries=await _with_names(connection, tenant_id, entries),
        last=entries[-1].number if len(rows) > page.limit else None,
    )


def _before(row: asyncpg.Record) -> Shown | None:
    """Return what was shown before a change; None where the log has not kept it."""
    if row["action"] in BEGINNINGS:
        return {}
    shown = read_shown(row["before"])
    if shown is not None and row["action"] == "contract.published":
        return {**shown, "state": ContractState.DRAFT}
    return shown


def _split(
    rows: Sequence[asyncpg.Record], before: int | None
) -> tuple[asyncpg.Record | None, list[asyncpg.Record]]:
    """Part the last entry that was seen from those that follow it."""
    if before is not None and rows and rows[0]["number"] == before:
        return rows[0], [*rows[1:]]
    return None, [*rows]


def _entry(row: asyncpg.Record, before: Shown | None, after: Shown | None) -> Entry:
    is_known = before is not None and after is not None
    return Entry(
        number=row["number"],
        at=row["at"],
        actor=row["actor"],
        made_by=row["actor"],
        action=row["action"].removeprefix("contract."),
        version=_version(row["action"], before),
        state=state_after(row["action"]),
        changes=changes_between(before, after) if is_known else None,  # type: ignore[arg-type]
    )


def _version(action: str, before: Shown | None) -> int | None:
    """Return the version that a change has made; a draft has none."""
    if action in ("contract.made", "contract.published"):
        return 1
    former = None if before is None else before.get("version")
    return former + 1 if isinstance(former, int) else None


async def _with_names(
    connection: Connection, tenant_id: int, entries: Sequence[Entry]
) -> list[Entry]:
    """Name those who have made changes as people know them."""
    names = {}
    for actor in {entry.actor for entry in entries}:
        ref = actor.rpartition(" ")[2]
        known = None
        if actor.startswith(("key ", "admin ")):
            known = await connection.fetchval(queries.name_of_caller, tenant_id, UUID(ref))
        names[actor] = known or actor
    return [msgspec.structs.replace(one, made_by=names[one.actor]) for one in entries]


async def _shown(connection: Connection, tenant_id: int, contract_ref: UUID) -> Shown | None:
    """Return a contract or a draft as the API shows it now; None where there is none."""
    key = (tenant_id, shard_key_of(contract_ref.int))
    row = await connection.fetchrow(queries.find_contract, *key, contract_ref)
    if row is not None:
        (answer,) = await contract_answers(connection, *key, [row])
        return read_shown(msgspec.json.encode(answer))
    draft = await connection.fetchval(queries.find_contract_draft, *key, contract_ref)
    return None if draft is None else read_shown(draft)


def _phase(shown: Shown, now: datetime) -> str:
    def day(text: str | None) -> date | None:
        return None if text is None else date.fromisoformat(text)

    return phase_of(
        (
            date.fromisoformat(one["in_force_from"]),
            day(one["in_force_through"]),
            now.astimezone(ZoneInfo(one["timezone"])).date(),
        )
        for one in shown["products"]
    )


async def get_history(request: web.Request) -> web.Response:
    """GET /api/contracts/history/<contract_ref>: who changed what, the newest change first.

    Each entry has the fields that differ, with their values before and after. A draft that was
    dropped keeps its history.
    """
    contract_ref = path_ref(request, "contract_ref")
    query = read_query(request, refuses_unknown=True)
    page = read_page(query.fields)
    query.finish()
    async with transaction(request) as (connection, tenant_id):
        history = await load_history(connection, tenant_id, contract_ref, page, datetime.now(UTC))
    return history_answer(history)


def history_answer(history: History) -> web.Response:
    """Answer with a page of history."""
    paged = page_answer(
        "entries", [msgspec.Raw(_encode(one)) for one in history.entries], history.last
    )
    head = {name: getattr(history, name) for name in ("contract_ref", "state", "phase")}
    assert isinstance(paged.body, bytes)
    return json_answer(head | msgspec.json.decode(paged.body, type=dict[str, msgspec.Raw]))


ROUTES = [
    *routes_of(
        "GET",
        "/api/contracts/history/{contract_ref}",
        get_history,
        "billing:read",
        asks=read_page,
    ),
]
