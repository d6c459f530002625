"""Customers: who is billed."""

from decimal import Decimal
from typing import Any, Final
from uuid import UUID, uuid4

import asyncpg
import msgspec
from aiohttp import web
from msgspec import Struct

from gateway.manage import registries, values
from gateway.manage.answers import json_answer, number_or_null, terms_answer
from gateway.manage.body import Body, Fields
from gateway.manage.context import (
    note,
    path_ref,
    queries,
    read_body,
    read_query,
    routes_of,
    transaction,
)
from gateway.manage.entities import EntityChoice, billing_details_of, find_entity
from gateway.manage.parts import (
    BankTransfer,
    CryptoPayment,
    OnlinePayment,
    PaymentDetails,
    Phone,
    check_ways_to_pay,
    encode_details,
    read_payment_details,
    read_phone,
    read_state,
)
from runtime.postgres import Connection
from schemas.errors import NotFound
from schemas.event_ref import shard_key

TAX_MAX: Final = 100
NAMES_PAGE_MAX: Final = 1_000


class Settings(Struct, frozen=True):
    """What goes with a customer's documents."""

    attach_usage_logs_csv: bool = False
    attach_usage_logs_pdf: bool = False


class CustomerDetails(Struct, frozen=True, omit_defaults=True):
    """What is kept of a customer to be shown, and how it pays unless a contract says otherwise."""

    ein: str | None = None
    phone: Phone | None = None
    country: str | None = None
    country_state: str | None = None
    city: str | None = None
    zip_code: str | None = None
    billing_address: str | None = None
    shipping_address: str | None = None
    billing_bank_transfer_details: BankTransfer | None = None
    billing_online_payment_details: OnlinePayment | None = None
    billing_crypto_details: CryptoPayment | None = None
    settings: Settings | None = None
    icon_data: str | None = None
    timezone: str | None = None
    locale: str | None = None
    is_partner: bool = False
    partner_kind: str | None = None


class NewCustomer(Struct, frozen=True):
    """A customer as it is asked for; None is left to its entity."""

    name: str
    email: str
    legal_name: str | None
    currency: str | None
    tax: Decimal | None
    net_terms: str | None
    external_id: str | None
    entity: EntityChoice
    details: CustomerDetails


def read_customer(fields: Fields) -> NewCustomer:
    """Read the body of `POST /api/customers`."""
    return NewCustomer(
        name=fields.required(values.name, "name"),
        email=fields.required(values.emails, "email"),
        legal_name=fields.optional(values.name, "legal_name"),
        currency=fields.optional(values.currency, "currency"),
        tax=fields.optional(values.percent(TAX_MAX), "tax"),
        net_terms=fields.optional(values.net_terms(upon_usage=True), "net_terms"),
        external_id=fields.optional(values.text, "external_id"),
        entity=EntityChoice(
            fields.optional(values.ref, "entity_ref"),
            fields.optional(values.name, "entity_name"),
        ),
        details=_read_details(fields),
    )


def read_customer_change(fields: Fields) -> NewCustomer:
    """Read the body of `PUT /api/customers/<customer_ref>`: what GET answers may be sent back."""
    fields.ignore("customer_ref", "created_at")
    return read_customer(fields)


def _read_details(fields: Fields) -> CustomerDetails:
    payment = read_payment_details(fields)
    ein = fields.optional(values.text, "ein")
    country = fields.optional(values.country, "country")
    if ein is not None:
        fields.check("ein", lambda: registries.check_tax_id(country, ein))
    return CustomerDetails(
        ein=ein,
        phone=read_phone(fields),
        country=country,
        country_state=read_state(fields, country),
        city=fields.optional(values.text, "city"),
        zip_code=fields.optional(values.text, "zip_code", "zip-code"),
        billing_address=fields.optional(values.text, "billing_address"),
        shipping_address=fields.optional(values.text, "shipping_address"),
        billing_bank_transfer_details=payment.billing_bank_transfer_details,
        billing_online_payment_details=payment.billing_online_payment_details,
        billing_crypto_details=payment.billing_crypto_details,
        settings=_read_settings(fields.nested("settings")),
        icon_data=fields.optional(values.icon, "icon_data"),
        timezone=fields.optional(values.timezone, "timezone"),
        locale=fields.optional(values.locale, "locale"),
        is_partner=fields.optional(values.flag, "is_partner") or False,
        partner_kind=fields.optional(values.text, "partner_kind"),
    )


def _read_settings(fields: Fields | None) -> Settings | None:
    if fields is None:
        return None
    return Settings(
        fields.optional(values.flag, "attach_usage_logs_csv", "attach_useage_logs_csv") or False,
        fields.optional(values.flag, "attach_usage_logs_pdf", "attach_useage_logs_pdf") or False,
    )


async def create_customer(request: web.Request) -> web.Response:
    """POST /api/customers."""
    body = await read_body(request)
    customer = read_customer(body.fields)
    warnings = body.finish()
    customer_ref = uuid4()
    async with transaction(request) as (connection, tenant_id):
        await _add_customer(body, connection, tenant_id, customer_ref, customer)
        await note(request, connection, "customer.made", customer_ref, after=body.fields.values)
    return json_answer({"customer_ref": customer_ref}, warnings=warnings)


async def _add_customer(
    body: Body,
    connection: Connection,
    tenant_id: int,
    customer_ref: UUID,
    customer: NewCustomer,
) -> None:
    entity = await _find_payable(body, connection, tenant_id, customer, customer.entity)
    await connection.execute(
        queries.add_customer,
        shard_key(str(customer_ref)),
        tenant_id,
        customer_ref,
        entity["entity_id"],
        customer.name,
        customer.legal_name,
        customer.email,
        customer.currency or entity["currency"],
        customer.tax,
        customer.net_terms,
        customer.external_id,
        encode_details(customer.details),
    )


async def _find_payable(
    body: Body,
    connection: Connection,
    tenant_id: int,
    customer: NewCustomer,
    choice: EntityChoice,
) -> asyncpg.Record:
    """Return the customer's entity. Raises InvalidInput when it has not what the customer names."""
    entity = await find_entity(body, connection, tenant_id, choice)
    if entity is not None:
        details = customer.details
        payment = PaymentDetails(
            details.billing_bank_transfer_details, details.billing_online_payment_details
        )
        check_ways_to_pay(body.fields, payment, billing_details_of(entity), entity["name"])
    body.refuse()
    assert entity is not None
    return entity


async def get_customer(request: web.Request) -> web.Response:
    """GET /api/customers/<customer_ref>."""
    customer_ref = path_ref(request, "customer_ref")
    async with transaction(request) as (connection, tenant_id):
        row = await _load_customer(connection, tenant_id, customer_ref)
    return json_answer(_customer_answer(row))


async def _load_customer(
    connection: Connection, tenant_id: int, customer_ref: UUID
) -> asyncpg.Record:
    place = shard_key(str(customer_ref))
    row = await connection.fetchrow(queries.find_customer, tenant_id, place, customer_ref)
    if row is None:
        raise NotFound("customer_unknown", f"there is no customer {customer_ref}")
    return row


async def replace_customer(request: web.Request) -> web.Response:
    """PUT /api/customers/<customer_ref>: the whole customer anew.

    What is left out is emptied, but for the entity and the currency, which stay. Contracts keep
    the terms that they were signed with.
    """
    customer_ref = path_ref(request, "customer_ref")
    body = await read_body(request, refuses_unknown=True)
    customer = read_customer_change(body.fields)
    body.fields.optional(values.same_ref(customer_ref), "customer_ref")
    body.finish()
    key = (shard_key(str(customer_ref)), customer_ref)
    async with transaction(request) as (connection, tenant_id):
        await connection.execute(queries.hold_customer, tenant_id, *key)
        before = await _load_customer(connection, tenant_id, customer_ref)
        kept = EntityChoice(before["entity_ref"], None)
        choice = kept if customer.entity == EntityChoice(None, None) else customer.entity
        entity = await _find_payable(body, connection, tenant_id, customer, choice)
        await connection.execute(
            queries.change_customer,
            tenant_id,
            *key,
            entity["entity_id"],
            customer.name,
            customer.legal_name,
            customer.email,
            customer.currency or before["currency"],
            customer.tax,
            customer.net_terms,
            customer.external_id,
            encode_details(customer.details),
        )
        answer = _customer_answer(await _load_customer(connection, tenant_id, customer_ref))
        former = _customer_answer(before)
        await note(
            request, connection, "customer.changed", customer_ref, before=former, after=answer
        )
    return json_answer(answer)


def _customer_answer(row: asyncpg.Record) -> dict[str, Any]:
    details = msgspec.json.decode(row["details"], type=CustomerDetails)
    shown = {name: getattr(details, name) for name in CustomerDetails.__struct_fields__}
    return {
        "customer_ref": row["customer_ref"],
        "name": row["name"],
        "legal_name": row["legal_name"],
        "email": row["email"],
        "currency": row["currency"],
        "tax": number_or_null(row["tax"]),
        "entity_ref": row["entity_ref"],
        "entity_name": row["entity_name"],
        "net_terms": terms_answer(row["net_terms"]),
        "external_id": row["external_id"],
        **shown,
        "created_at": row["created_at"],
    }


async def list_customer_names(request: web.Request) -> web.Response:
    """GET /api/customers/names: all of them, in one answer."""
    async with transaction(request) as (connection, tenant_id):
        rows = await connection.fetch(queries.list_customer_names, tenant_id)
    return json_answer({"customers": [_name_answer(row) for row in rows]})


class Wanted(Struct, frozen=True):
    """Which names a filter asks for. part: what they contain. order: ASC or DESC."""

    part: str
    order: str
    size: int
    number: int


def read_wanted(fields: Fields) -> Wanted:
    """Read the query of `GET /api/customers/names/filter`."""
    fields.optional(values.choice("name"), "orderBy")
    return Wanted(
        part=fields.optional(values.text, "customer_name") or "",
        order=fields.optional(values.choice("ASC", "DESC"), "order") or "ASC",
        size=fields.optional(values.whole(1, NAMES_PAGE_MAX), "pageSize") or NAMES_PAGE_MAX,
        number=fields.optional(values.whole(0, values.PAGE_NUMBER_MAX), "pageNumber") or 0,
    )


async def filter_customer_names(request: web.Request) -> web.Response:
    """GET /api/customers/names/filter: those whose name contains a text, ignoring case."""
    query = read_query(request)
    wanted = read_wanted(query.fields)
    query.finish()
    page = (wanted.order, wanted.size, wanted.number * wanted.size)
    async with transaction(request) as (connection, _):
        total = await connection.fetchval(queries.count_customers_named, wanted.part)
        rows = await connection.fetch(queries.list_customers_named, wanted.part, *page)
    names = [_name_answer(row) for row in rows]
    return json_answer({"customers": names, "count": len(names), "total": total})


def _name_answer(row: asyncpg.Record) -> dict[str, Any]:
    return {
        "customer_ref": row["customer_ref"],
        "customer_name": row["name"],
        "customer_legal_name": row["legal_name"],
    }


ROUTES = [
    *routes_of("POST", "/api/customers", create_customer, "billing:write", reads=read_customer),
    *routes_of("GET", "/api/customers/names", list_customer_names, "billing:read"),
    *routes_of(
        "GET",
        "/api/customers/names/filter",
        filter_customer_names,
        "billing:read",
        asks=read_wanted,
    ),
    *routes_of("GET", "/api/customers/{customer_ref}", get_customer, "billing:read"),
    *routes_of(
        "PUT",
        "/api/customers/{customer_ref}",
        replace_customer,
        "billing:write",
        reads=read_customer_change,
    ),
]
