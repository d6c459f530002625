"""What a tenant has chosen for itself; what it has not chosen has its default."""

from functools import partial
from typing import Any, Final

import asyncpg
from aiohttp import web
from msgspec import Struct
from msgspec.structs import astuple

from gateway.manage import values
from gateway.manage.answers import json_answer
from gateway.manage.body import Fields
from gateway.manage.changes import announce_to_all
from gateway.manage.context import note, queries, read_body, routes_of, transaction
from schemas.dunning import STEP_MAX, STEP_MIN, STEPS_MAX
from schemas.errors import InvalidInput

AGE_DAYS_MAX: Final = 36_525
"""A hundred years: longer than there are events."""

GRACE_SECONDS_MAX: Final = 60 * 86_400


LATE_USAGE: Final = ("OWN_DOCUMENT", "NEXT_DOCUMENT")
"""What becomes of what changes of a document after it was issued; the first is the default."""


class Settings(Struct, frozen=True):
    """What is chosen.

    age_days_max: how old an event may be when it comes, None for any age. grace_seconds: how long
    after its end a period closes by itself, None for the raters' own. closing_waits: not while the
    customer has dead letters or amendments that nobody has settled. late_usage: where what changes
    of an issued document goes. review_documents: those of periods wait for a person's approval.
    reminder_days: so many days after its due date a customer is reminded of a document that is not
    paid, below zero before it.
    """

    refuses_unknown_fields: bool
    age_days_max: int | None
    grace_seconds: int | None
    closing_waits: bool
    late_usage: str
    review_documents: bool
    reminder_days: list[int]


def read_settings(fields: Fields) -> Settings:
    """Read the body of `PUT /api/settings`: GET's answer is one."""
    fields.ignore("updated_at")
    return Settings(
        refuses_unknown_fields=fields.optional(values.flag, "refuse_unknown_fields") or False,
        age_days_max=fields.optional(values.whole(1, AGE_DAYS_MAX), "maximum_event_age_days"),
        grace_seconds=fields.optional(values.whole(0, GRACE_SECONDS_MAX), "closing_grace_seconds"),
        closing_waits=fields.optional(values.flag, "closing_waits_for_unsettled") or False,
        late_usage=fields.optional(values.choice(*LATE_USAGE), "late_usage") or LATE_USAGE[0],
        review_documents=fields.optional(values.flag, "review_documents") or False,
        reminder_days=_steps(fields),
    )


def _steps(fields: Fields) -> list[int]:
    """Read a schedule of reminders: a list of days."""
    listed = fields.items("reminder_days") or []
    if len(listed) > STEPS_MAX:
        fields.add("steps_too_many", f"must be at most {STEPS_MAX} days", "reminder_days")
        return []
    place = fields.at("reminder_days")
    read = [
        fields.body.check(f"{place}/{at}", partial(_step, str(step)))
        for at, step in enumerate(listed)
    ]
    return sorted({step for step in read if step is not None})


def _step(said: str) -> int:
    days = values.whole(0, STEP_MAX)(said.removeprefix("-"))
    if said.startswith("-"):
        days = -days
    if days < STEP_MIN:
        raise InvalidInput("number_out_of_range", f"must be from {STEP_MIN} to {STEP_MAX}")
    return days


async def get_settings(request: web.Request) -> web.Response:
    """GET /api/settings."""
    async with transaction(request) as (connection, tenant_id):
        row = await connection.fetchrow(queries.find_settings, tenant_id)
    return json_answer(_answer(row))


async def replace_settings(request: web.Request) -> web.Response:
    """PUT /api/settings: all of them anew; what is left out gets its default.

    They hold at once in the process that answers, and within seconds in the others.
    """
    body = await read_body(request, refuses_unknown=True)
    settings = read_settings(body.fields)
    body.finish()
    async with transaction(request) as (connection, tenant_id):
        before = _answer(await connection.fetchrow(queries.find_settings, tenant_id))
        if settings.age_days_max != before["maximum_event_age_days"]:
            await announce_to_all(connection)  # raters hold Kafka's own producers to it
        row = await connection.fetchrow(queries.put_settings, tenant_id, *astuple(settings))
        answer = _answer(row)
        await note(request, connection, "settings.changed", "settings", before=before, after=answer)
    return json_answer(answer)


def _answer(row: asyncpg.Record | None) -> dict[str, Any]:
    """Return settings as they are shown. row: None where nothing was chosen yet."""
    return {
        "refuse_unknown_fields": row is not None and row["refuses_unknown_fields"],
        "maximum_event_age_days": None if row is None else row["age_days_max"],
        "closing_grace_seconds": None if row is None else row["closing_grace_seconds"],
        "closing_waits_for_unsettled": row is not None and row["closing_waits"],
        "late_usage": LATE_USAGE[0] if row is None else row["late_usage"],
        "review_documents": row is not None and row["review_documents"],
        "reminder_days": [] if row is None else row["reminder_days"],
        "updated_at": None if row is None else row["updated_at"],
    }


ROUTES = [
    *routes_of("GET", "/api/settings", get_settings, "billing:read"),
    *routes_of("PUT", "/api/settings", replace_settings, "admin", reads=read_settings),
]
