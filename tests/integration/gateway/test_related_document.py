"""The document an event is expected on is known as soon as its contract is."""

import asyncio
from datetime import date
from uuid import UUID

import asyncpg

from schemas.document_ref import document_ref
from tests.factories import PER_UNIT, make_contract, make_pricing
from tests.integration.gateway.conftest import Site


async def test_an_event_names_the_document_of_a_contract_made_meanwhile(site: Site) -> None:
    assert (await site.take(site.event()))["related_document_ref"] is None
    connection = await asyncpg.connect(site.database)
    try:
        pricing = await make_pricing(connection, site.customer.tenant, [(site.meter, PER_UNIT)])
        contract = await make_contract(connection, site.customer, [pricing])
    finally:
        await connection.close()
    async with asyncio.timeout(30):
        while (found := (await site.take(site.event()))["related_document_ref"]) is None:
            pass
    expected = document_ref(site.tenant_ref, UUID(contract.ref), 0, date(2024, 3, 1))
    assert found == str(expected)
    status, refusal = await site.post(
        "/api/usage/event", site.event(validations={"currency": "EUR"})
    )
    assert status == 422
    assert refusal["errors"][0]["pointer"] == "/validations/currency"
    await site.take(site.event(validations={"currency": "USD"}))
    early = await site.take(site.event(timestamp="2023-12-31T23:59:59Z"))
    assert early["related_document_ref"] is None
