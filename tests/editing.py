"""Edited and ended contracts, written straight into Postgres and announced as the gateway does."""

from collections.abc import Sequence
from datetime import date
from typing import Any

import asyncpg

from schemas.event_ref import derived_ref, month_of, tenant_bits
from tests.factories import MadeContract, MadePricing, add_lines, add_row, announce, announce_change

_TERMS = (
    *("document_group", "entity_id", "currency", "timezone", "billing_start_date"),
    *("billing_end_date", "cycle_unit", "cycle_length", "issue_day", "payment_time", "tax"),
    *("discount", "net_terms"),
)


async def edit_contract(
    connection: asyncpg.Connection,
    contract: MadeContract,
    pricings: Sequence[MadePricing],
    from_date: date,
    **terms: object,
) -> MadeContract:
    """Sell other pricings from a day on in the place of all products. terms: columns of them."""
    return await _make_version(connection, contract, pricings, from_date, "EDITED", terms)


async def end_contract(
    connection: asyncpg.Connection, contract: MadeContract, from_date: date
) -> None:
    """Let every product end before a day."""
    await _make_version(connection, contract, [], from_date, "CANCELLED", {})


async def _make_version(
    connection: asyncpg.Connection,
    contract: MadeContract,
    pricings: Sequence[MadePricing],
    from_date: date,
    kind: str,
    terms: dict[str, object],
) -> MadeContract:
    key = contract.customer.shard_key
    async with connection.transaction():
        announced = await announce(connection, key)
        version: int = await connection.fetchval(
            "UPDATE contract SET version = version + 1 WHERE shard_key = $1 AND contract_ref = $2 "
            "RETURNING version",
            *(key, contract.ref),
        )
        own = {
            "shard_key": key,
            "tenant_id": contract.customer.tenant.tenant_id,
            "contract_ref": contract.ref,
            "version": version,
            "kind": kind,
        }
        await add_row(connection, "contract_version", own | {"made_by": "a test"})
        standing = await connection.fetch(
            "SELECT * FROM contract_product WHERE shard_key = $1 AND contract_ref = $2 "
            "ORDER BY position, version",
            *(key, contract.ref),
        )
        made: dict[int, tuple[str, tuple[str, ...]]] = {}
        for position, pricing in enumerate(pricings):
            former = [row for row in standing if row["position"] == position][-1]
            made[position] = await _add_product(
                connection, contract, former, pricing, version, from_date, terms
            )
        for row in standing:
            succession = {
                "contract_product_ref": row["contract_product_ref"],
                "from_date": from_date,
                "successor_ref": made[row["position"]][0] if made else None,
            }
            await add_row(connection, "contract_succession", own | succession)
        await announce_change(
            connection, announced, contract.customer, contract.ref, None, contract_version=version
        )
    products, lines = zip(*made.values(), strict=True) if made else ((), ())
    return MadeContract(contract.ref, contract.customer, products, lines)


async def _add_product(
    connection: asyncpg.Connection,
    contract: MadeContract,
    former: asyncpg.Record,
    pricing: MadePricing,
    version: int,
    from_date: date,
    terms: dict[str, object],
) -> tuple[str, tuple[str, ...]]:
    customer = contract.customer
    month = month_of(former["contract_product_ref"].int)
    place = (customer.shard_key, tenant_bits(customer.tenant.ref))
    fields = (str(contract.ref), former["position"], version)
    ref = derived_ref("contract_product", month, *place, *fields)
    product: dict[str, Any] = {
        **{name: former[name] for name in _TERMS},
        **terms,
        "shard_key": customer.shard_key,
        "contract_product_ref": ref,
        "tenant_id": former["tenant_id"],
        "contract_ref": former["contract_ref"],
        "position": former["position"],
        "pricing_id": pricing.pricing_id,
        "version": version,
        "since_date": from_date,
        "is_pending": True,
    }
    if from_date > former["billing_start_date"]:
        product["carries_on_ref"] = former["lineage_ref"]
    await add_row(connection, "contract_product", product)
    return str(ref), await add_lines(connection, product, pricing, month, place)
