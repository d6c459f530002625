"""The demonstration's steps, each a client of the API as any other: no step looks inside."""

import asyncio
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from deploy.demo import catalogue
from deploy.demo.load import Names
from deploy.local.errors import StackError
from meterline_client import AsyncClient, Limits

WAIT_SECONDS_MAX = 300.0
LOOK_SECONDS = 0.2
PAGE = 100
#: The services are on this machine: what is away is soon back.
LIMITS = Limits(deadline_seconds=60.0, backoff_seconds=0.1, backoff_seconds_max=0.5)


@dataclass(frozen=True, kw_only=True)
class Shop:
    """What the demonstration made: the refs by name."""

    names: Names
    pricing_ref: str


async def make_shop(client: AsyncClient) -> Shop:
    """Make the legal entity, the meters, the product and the customers over HTTP."""
    entity = await client.request("POST", "/api/entities", catalogue.ENTITY)
    meters = {}
    for meter in catalogue.METERS:
        answer = await client.request("POST", "/api/usage/products", meter)
        meters[meter["name"]] = answer["usage_product_ref"]
    product = await client.request("POST", "/api/products", catalogue.product(meters))
    customers = {}
    for name in catalogue.customer_names():
        body = catalogue.customer(name, entity["entity_ref"])
        answer = await client.request("POST", "/api/customers", body)
        customers[name] = answer["customer_ref"]
    return Shop(names=Names(customers=customers, meters=meters), pricing_ref=product["pricing_ref"])


async def sign_contracts(client: AsyncClient, shop: Shop, names: list[str]) -> dict[str, str]:
    """Make a contract for each named customer; their refs by the customer's name."""
    refs = {}
    for name in names:
        body = catalogue.contract(shop.names.customers[name], shop.pricing_ref)
        answer = await client.request("POST", "/api/contracts/", body)
        refs[name] = answer["contract_ref"]
    return refs


async def close_period(
    client: AsyncClient, contracts: Mapping[str, str], through: str = catalogue.PERIOD_END
) -> None:
    """Ask for what ends by a day to be closed for every contract."""
    for ref in contracts.values():
        await client.request("POST", f"/api/contracts/close/{ref}", {"through": through})


async def wait_for_invoices(
    client: AsyncClient, contracts: Mapping[str, str], periods: int = 1
) -> list[dict[str, Any]]:
    """Wait until every contract has an issued invoice for each period.

    Returns them, the greatest first.
    """
    count = len(contracts) * periods
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while True:
        issued = await _issued(client, contracts.values())
        if len(issued) == count:
            return sorted(issued, key=lambda document: -document["total"])
        if time.monotonic() > deadline:
            raise StackError(
                f"{len(issued)} of {count} invoices after {WAIT_SECONDS_MAX:g} s; "
                "the services' logs are in the state directory"
            )
        await asyncio.sleep(LOOK_SECONDS)


async def note_payment(client: AsyncClient, document: Mapping[str, Any], amount: str) -> None:
    """Note that a part of an invoice was paid on its day of issue."""
    body = {"invoice_ref": document["invoice_ref"], "paid_date": document["issue_date"]}
    await client.request("POST", "/api/invoices/reconcile", body | {"amount": amount})


async def _issued(client: AsyncClient, contract_refs: Iterable[str]) -> list[dict[str, Any]]:
    """Return the documents that are issued by now, page by page of contracts and of documents."""
    refs, issued = list(contract_refs), []
    for first in range(0, len(refs), PAGE):
        query = {"limit": PAGE, "contract_refs": ",".join(refs[first : first + PAGE])}
        page: list[dict[str, Any]] = []
        number = 0
        while number == 0 or len(page) == PAGE:
            page = await client.request("GET", "/api/documents/filter", page=number, **query)
            issued += [document for document in page if document["state"] != "DRAFT"]
            number += 1
    return issued


async def fetch_pdf(client: AsyncClient, document: Mapping[str, Any]) -> bytes:
    """Wait until a document is drawn, and return its PDF."""
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while time.monotonic() < deadline:
        answer = await client.fetch("GET", f"/api/invoices/{document['invoice_ref']}/pdf")
        if answer.status == HTTPStatus.OK:
            return answer.body
        await asyncio.sleep(LOOK_SECONDS)
    raise StackError(f"{document['document_number']} was not drawn in {WAIT_SECONDS_MAX:g} s")
