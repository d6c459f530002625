"""What memory lacks of a tenant is looked up as it is: customers, meters and their formulas."""

import asyncpg

from gateway.reference import Reference
from runtime.clock import system_clock
from runtime.postgres import open_pool
from tests.factories import make_customer, make_meter, make_tenant


async def test_a_ref_that_memory_lacks_is_looked_up_with_all_that_judges_events(
    database: str,
) -> None:
    connection = await asyncpg.connect(database)
    try:
        made = await make_tenant(connection)
        async with open_pool(database, service="gateway") as pool:
            reference = Reference(pool, system_clock)
            await reference.refresh(connection)
            tenant = reference.tenants[made.tenant_id]
            customer = await make_customer(connection, made)
            meter = await make_meter(connection, made, formula="quantity * 2")
            plain = await make_meter(connection, made)
            await reference.look_up(tenant, {customer.ref}, {meter.ref, plain.ref})
        assert tenant.customers.keys() == {customer.ref}
        assert tenant.meters.keys() == {meter.ref, plain.ref}
        assert tenant.computed == {meter.ref}
        formula = tenant.meters[meter.ref].formula
        assert formula is not None
        assert formula.billable(3, None) == 6
    finally:
        await connection.close()
