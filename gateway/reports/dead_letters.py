"""Dead letters: records that could not be rated, shown with their reasons, and sent again."""

import re
from base64 import b64encode
from typing import Any, Final

import asyncpg
from aiohttp import web

from gateway.ingest.routes import INGEST
from gateway.manage import values
from gateway.manage.answers import json_answer
from gateway.manage.body import Fields
from gateway.manage.context import read_query, routes_of, transaction
from gateway.reports.asking import queries
from schemas.errors import InvalidInput, NotFound
from schemas.event_ref import SHARD_KEY_MASK, murmur2
from schemas.retrying import ORIGIN_HEADER, Origin, encode_origin, home_of

PAGE_MAX: Final = 1_000
PAGE_DEFAULT: Final = 100
VALUE_BYTES_SHOWN_MAX: Final = 64 * 1024
"""The longest value that a list shows; a longer one is there, and left out here."""

_match_id: Final = re.compile(r"(\d{1,4})-(\d{1,18})", re.ASCII).fullmatch
_BEFORE_ALL: Final = Origin(-1, -1)


def id_of(place: Origin) -> str:
    """Write the id of a dead letter: where in the log its record lies."""
    return f"{place.partition}-{place.offset}"


def read_id(value: object) -> Origin:
    """Read the id of a dead letter. Raises InvalidInput."""
    match = _match_id(str(value))
    if match is None:
        raise InvalidInput("cursor_malformed", "must be a next_cursor of an earlier answer")
    return Origin(int(match[1]), int(match[2]))


def read_page(fields: Fields) -> tuple[int, Origin]:
    """Read how many dead letters are asked for, and behind which one the page begins."""
    limit = fields.optional(values.whole(1, PAGE_MAX), "limit") or PAGE_DEFAULT
    return limit, fields.optional(read_id, "cursor") or _BEFORE_ALL


async def list_dead_letters(request: web.Request) -> web.Response:
    """GET /api/usage/dead: a page of records that could not be rated, with how they were retried.

    An outcome of a retry: TAKEN, it was rated or known already; DEAD, it failed again; PENDING.
    """
    query = read_query(request, refuses_unknown=True)
    limit, after = read_page(query.fields)
    query.finish()
    async with transaction(request) as (connection, tenant_id):
        rows = await connection.fetch(queries.list_dead_letters, tenant_id, *after, limit + 1)
        page = rows[:limit]
        retries = await connection.fetch(
            queries.list_retries,
            *(tenant_id, [_shard_key(row) for row in page], [row["partition"] for row in page]),
            [row["record_offset"] for row in page],
        )
    by_place: dict[Origin, list[dict[str, Any]]] = {_place(row): [] for row in page}
    for retry in retries:
        by_place[_place(retry)].append(_retry_answer(retry))
    last = id_of(_place(page[-1])) if len(rows) > limit else None
    answers = [_letter_answer(row, by_place[_place(row)]) for row in page]
    return json_answer({"dead_letters": answers, "next_cursor": last})


def _place(row: asyncpg.Record) -> Origin:
    return Origin(row["partition"], row["record_offset"])


def _shard_key(row: asyncpg.Record) -> int:
    key = row["record_key"]
    return 0 if key is None else murmur2(key) & SHARD_KEY_MASK


def _letter_answer(row: asyncpg.Record, retries: list[dict[str, Any]]) -> dict[str, Any]:
    value = row["value"]
    is_shown = value is not None and len(value) <= VALUE_BYTES_SHOWN_MAX
    origin = row["origin_offset"]
    return {
        "id": id_of(_place(row)),
        "reason": row["reason"],
        "detail": row["detail"],
        "appended_at": row["appended_at"],
        "receipt": {"partition": row["partition"], "offset": row["record_offset"]},
        "retry_of": None if origin is None else id_of(Origin(row["origin_partition"], origin)),
        "key": None if row["record_key"] is None else row["record_key"].decode("utf-8", "replace"),
        "value": b64encode(value).decode() if is_shown else None,
        "retries": retries,
    }


def _retry_answer(row: asyncpg.Record) -> dict[str, Any]:
    return {
        "retried_at": row["retried_at"],
        "receipt": {"partition": row["retry_partition"], "offset": row["retry_offset"]},
        "outcome": row["outcome"],
    }


async def retry_dead_letter(request: web.Request) -> web.Response:
    """POST /api/usage/dead/<id>/retry: send a record again, as it is.

    It goes into its customer's partition and carries its first place in the log, so that retries
    of one event are one event.
    """
    text = request.match_info["id"]
    match = _match_id(text)
    place = (-1, -1) if match is None else (int(match[1]), int(match[2]))
    async with transaction(request) as (connection, tenant_id):
        row = await connection.fetchrow(queries.find_dead_letter, tenant_id, *place)
        log = await connection.fetchrow(queries.find_log)
    if row is None:
        raise NotFound("dead_letter_unknown", f"there is no dead letter {text[:64]!r}")
    assert log is not None
    origin = first_place(row)
    key, partition = home_of(row["record_key"], row["value"], origin, log["partitions"])
    header = (ORIGIN_HEADER, encode_origin(origin))
    publisher = request.app[INGEST].publisher
    offset = await publisher.send_alone(log["topic"], partition, key, row["value"], header)
    async with transaction(request) as (connection, tenant_id):
        await connection.execute(
            queries.add_retry, row["shard_key"], *place, partition, offset, tenant_id
        )
    receipt = {"topic": log["topic"], "partition": partition, "offset": offset}
    return json_answer({"id": id_of(_place(row)), "receipt": receipt}, status=202)


def first_place(row: asyncpg.Record) -> Origin:
    """Return the place that an event's record first had, however often it was retried."""
    if row["origin_offset"] is None:
        return _place(row)
    return Origin(row["origin_partition"], row["origin_offset"])


ROUTES = [
    *routes_of("GET", "/api/usage/dead", list_dead_letters, "usage:read", asks=read_page),
    *routes_of("POST", "/api/usage/dead/{id}/retry", retry_dead_letter, "usage:write", status=202),
]
