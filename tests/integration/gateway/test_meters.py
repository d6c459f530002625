"""Events of a meter with a formula: what it has no value for is refused, on both lanes."""

import asyncpg

from tests.factories import MadeMeter, make_meter
from tests.integration.gateway.conftest import Site

FORMULA = "quantity * additional_report_data.minutes / additional_report_data.parts"


async def computed_meter(site: Site) -> MadeMeter:
    connection = await asyncpg.connect(site.database)
    try:
        return await make_meter(connection, site.customer.tenant, formula=FORMULA)
    finally:
        await connection.close()


async def test_an_event_that_the_formula_has_no_value_for_is_refused(site: Site) -> None:
    meter = await computed_meter(site)
    before = await site.log_size()

    def event(**data: object) -> dict[str, object]:
        return site.event(usage_product_ref=meter.ref, additional_report_data=data)

    await site.take(event(minutes=90, parts=3))
    bad = [event(minutes=90), event(minutes="90", parts=3), event(minutes=90, parts=0)]
    for one in bad:
        status, answer = await site.post("/api/usage/event", one)
        assert status == 422, answer
        assert [(e["pointer"], e["code"]) for e in answer["errors"]] == [
            ("/additional_report_data", "formula_failed")
        ]
    status, answer = await site.post("/api/usage/events", [event(minutes=1, parts=1), *bad])
    assert (status, answer["accepted"], answer["rejected"]) == (202, 1, 3)
    assert {error["pointer"] for error in answer["errors"]} == {"/additional_report_data"}
    assert await site.log_size() == before + 2
