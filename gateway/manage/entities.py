"""Entities: the legal entities of a tenant, which issue its documents."""

from typing import Any, Final
from uuid import UUID, uuid4

import asyncpg
import msgspec
from aiohttp import web
from msgspec import Struct

from gateway.manage import pictures, registries, values
from gateway.manage.answers import json_answer, terms_answer
from gateway.manage.body import Body, Fields
from gateway.manage.context import note, path_ref, queries, read_body, routes_of, transaction
from gateway.manage.parts import (
    BillingDetails,
    Phone,
    encode_details,
    read_billing_details,
    read_phone,
    read_state,
)
from runtime.postgres import Connection
from schemas.errors import Conflict, NotFound

DEFAULT_CURRENCY: Final = "USD"
DEFAULT_TIMEZONE: Final = "UTC"
DEFAULT_NET_TERMS: Final = "30"
DEFAULT_NUMBER_FORMAT: Final = "INV-{year}-{number:03}"


class EntityDetails(Struct, frozen=True, omit_defaults=True):
    """What is kept of an entity only to be shown."""

    billing_details: BillingDetails = BillingDetails()
    country: str | None = None
    country_state: str | None = None
    city: str | None = None
    address: str | None = None
    phone: Phone | None = None
    zip_code: str | None = None
    logo: str | None = None
    accent_colour: str | None = None
    locale: str | None = None
    vat_id: str | None = None
    e_invoice: str | None = None


class NewEntity(Struct, frozen=True):
    """An entity as it is asked for; what every entity has is None where it was left out."""

    name: str
    legal_name: str | None
    email: str | None
    registration_number: str | None
    timezone: str | None
    currency: str | None
    net_terms: str | None
    number_format: str | None
    review: str
    details: EntityDetails


def read_entity(fields: Fields) -> NewEntity:
    """Read the body of `POST /api/entities`."""
    return NewEntity(
        name=fields.required(values.name, "name"),
        legal_name=fields.optional(values.name, "legal_name"),
        email=fields.optional(values.emails, "email"),
        registration_number=fields.optional(values.text, "registration_number"),
        timezone=fields.optional(values.timezone, "timezone"),
        currency=fields.optional(values.currency, "currency"),
        net_terms=fields.optional(values.net_terms(upon_usage=False), "net_terms"),
        number_format=fields.optional(values.number_format, "document_number_format"),
        review=fields.optional(values.choice(*values.REVIEWS), "review") or "INHERITED",
        details=_read_details(fields),
    )


def read_entity_change(fields: Fields) -> NewEntity:
    """Read the body of `PUT /api/entities/<entity_ref>`: what GET answers may be sent back."""
    fields.ignore("entity_ref", "created_at")
    return read_entity(fields)


def _read_details(fields: Fields) -> EntityDetails:
    country = fields.optional(values.country, "country")
    details = EntityDetails(
        billing_details=read_billing_details(fields.nested("billing_details")),
        country=country,
        country_state=read_state(fields, country),
        city=fields.optional(values.text, "city"),
        address=fields.optional(values.text, "address"),
        phone=read_phone(fields),
        zip_code=fields.optional(values.text, "zip_code", "zip-code"),
        logo=fields.optional(pictures.logo, "logo"),
        accent_colour=fields.optional(values.colour, "accent_colour"),
        locale=fields.optional(values.locale, "locale"),
        vat_id=fields.optional(registries.vat_id, "vat_id"),
        e_invoice=fields.optional(values.choice("FACTUR_X"), "e_invoice"),
    )
    if details.e_invoice is not None:
        for name in ("country", "vat_id"):
            if fields.values.get(name) in (None, ""):
                fields.add("required", "an e-invoice has to say it; see docs/e-invoices.md", name)
    return details


async def create_entity(request: web.Request) -> web.Response:
    """POST /api/entities."""
    body = await read_body(request, refuses_unknown=True)
    entity = read_entity(body.fields)
    warnings = body.finish()
    entity_ref = uuid4()
    async with transaction(request) as (connection, tenant_id):
        default = await connection.fetchrow(queries.find_default_entity, tenant_id)
        try:
            entity_id = await connection.fetchval(
                queries.add_entity,
                tenant_id,
                entity_ref,
                entity.name,
                entity.legal_name or entity.name,
                entity.email,
                entity.registration_number,
                entity.timezone or (default["timezone"] if default else DEFAULT_TIMEZONE),
                entity.currency or (default["currency"] if default else DEFAULT_CURRENCY),
                entity.net_terms or DEFAULT_NET_TERMS,
                entity.number_format or DEFAULT_NUMBER_FORMAT,
                entity.review,
                encode_details(entity.details),
            )
        except asyncpg.UniqueViolationError:
            raise _name_taken(entity.name) from None
        await connection.execute(queries.make_default_entity, tenant_id, entity_id)
        await note(request, connection, "entity.made", entity_ref, after=body.fields.values)
    return json_answer({"entity_ref": entity_ref}, warnings=warnings)


def _name_taken(name: str) -> Conflict:
    return Conflict("name_taken", f"there is an entity named {name!r} already")


async def get_entity(request: web.Request) -> web.Response:
    """GET /api/entities/<entity_ref>."""
    entity_ref = path_ref(request, "entity_ref")
    async with transaction(request) as (connection, tenant_id):
        row = await _load_entity(connection, tenant_id, entity_ref)
    return json_answer(_entity_answer(row))


async def _load_entity(connection: Connection, tenant_id: int, entity_ref: UUID) -> asyncpg.Record:
    row = await connection.fetchrow(queries.find_entity, tenant_id, entity_ref)
    if row is None:
        raise NotFound("entity_unknown", f"there is no entity {entity_ref}")
    return row


async def replace_entity(request: web.Request) -> web.Response:
    """PUT /api/entities/<entity_ref>: the whole entity anew.

    What is left out is emptied, but for what every entity has, which stays: its legal name, time
    zone, currency, net terms and form of numbers. Contracts keep the zone and the terms that they
    were signed with; documents to come are numbered by the new form.
    """
    entity_ref = path_ref(request, "entity_ref")
    body = await read_body(request, refuses_unknown=True)
    entity = read_entity_change(body.fields)
    body.fields.optional(values.same_ref(entity_ref), "entity_ref")
    warnings = body.finish()
    async with transaction(request) as (connection, tenant_id):
        await connection.execute(queries.hold_entity, tenant_id, entity_ref)
        before = await _load_entity(connection, tenant_id, entity_ref)
        try:
            row = await connection.fetchrow(
                queries.change_entity,
                tenant_id,
                entity_ref,
                entity.name,
                entity.legal_name or before["legal_name"],
                entity.email,
                entity.registration_number,
                entity.timezone or before["timezone"],
                entity.currency or before["currency"],
                entity.net_terms or before["net_terms"],
                entity.number_format or before["document_number_format"],
                entity.review,
                encode_details(entity.details),
            )
        except asyncpg.UniqueViolationError:
            raise _name_taken(entity.name) from None
        assert row is not None, "it is held"
        answer, former = _entity_answer(row), _entity_answer(before)
        await note(request, connection, "entity.changed", entity_ref, before=former, after=answer)
    return json_answer(answer, warnings=warnings)


def _entity_answer(row: asyncpg.Record) -> dict[str, Any]:
    details = msgspec.json.decode(row["details"], type=EntityDetails)
    shown = {name: getattr(details, name) for name in EntityDetails.__struct_fields__}
    return {
        "entity_ref": row["entity_ref"],
        "name": row["name"],
        "legal_name": row["legal_name"],
        "email": row["email"],
        "registration_number": row["registration_number"],
        **shown,
        "timezone": row["timezone"],
        "currency": row["currency"],
        "net_terms": terms_answer(row["net_terms"]),
        "document_number_format": row["document_number_format"],
        "review": row["review"],
        "created_at": row["created_at"],
    }


async def list_entity_names(request: web.Request) -> web.Response:
    """GET /api/entities/names."""
    async with transaction(request) as (connection, tenant_id):
        rows = await connection.fetch(queries.list_entity_names, tenant_id)
    names = [
        {
            "entity_ref": row["entity_ref"],
            "entity_name": row["name"],
            "entity_legal_name": row["legal_name"],
        }
        for row in rows
    ]
    return json_answer({"entities": names})


def billing_details_of(row: asyncpg.Record) -> BillingDetails:
    """Return where an entity is paid."""
    return msgspec.json.decode(row["details"], type=EntityDetails).billing_details


async def find_entity(
    body: Body, connection: Connection, tenant_id: int, fields: "EntityChoice"
) -> asyncpg.Record | None:
    """Return the entity that a body names by ref or else by name, or the tenant's default.

    Notes a problem when there is none.
    """
    if fields.entity_ref is not None:
        row = await connection.fetchrow(queries.find_entity, tenant_id, fields.entity_ref)
        name, problem = "entity_ref", "entity_unknown"
    elif fields.entity_name is not None:
        row = await connection.fetchrow(queries.find_entity_by_name, tenant_id, fields.entity_name)
        name, problem = "entity_name", "entity_unknown"
    else:
        row = await connection.fetchrow(queries.find_default_entity, tenant_id)
        name, problem = "entity_ref", "required"
    if row is None:
        body.add(problem, "names no entity of yours", f"/{name}")
    return row


class EntityChoice(Struct, frozen=True):
    """How a body names an entity: the ref wins over the name; neither means the default."""

    entity_ref: UUID | None
    entity_name: str | None


ROUTES = [
    *routes_of("POST", "/api/entities", create_entity, "billing:write", reads=read_entity),
    *routes_of("GET", "/api/entities/names", list_entity_names, "billing:read"),
    *routes_of("GET", "/api/entities/{entity_ref}", get_entity, "billing:read"),
    *routes_of(
        "PUT",
        "/api/entities/{entity_ref}",
        replace_entity,
        "billing:write",
        reads=read_entity_change,
    ),
]
