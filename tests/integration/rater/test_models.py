"""Every model of a total, from records in Kafka to charges and to the cut of the closed period."""

from datetime import date
from fractions import Fraction
from typing import Any

from tests.factories import ask_to_close, make_contract, make_customer, make_meter, make_pricing
from tests.integration.rater.conftest import Bench
from tests.rating import Use, await_tasks, charges

TIERS = [
    {"up_to": "100", "unit_price": "1", "flat_fee": "3"},
    {"up_to": None, "unit_price": "0.5", "flat_fee": "0"},
]
MODELS: list[tuple[dict[str, Any], str]] = [
    ({"model": "VOLUME", "tiers": TIERS}, "50.25"),
    ({"model": "STAIRSTEP", "tiers": [{"up_to": None, "flat_fee": "7"}]}, "7"),
    ({"model": "PACKAGE", "price": "2", "package_size": "10"}, "22"),
    ({"model": "PERCENTAGE", "rate": "2.9"}, "2.9145"),
    ({"model": "PERCENTAGE", "tiers": [{"up_to": None, "rate": "10", "flat_fee": "1"}]}, "11.05"),
    ({"model": "FORMULA", "expression": "graduated + event_count", "tiers": TIERS}, "106.25"),
    ({"model": "FORMULA", "expression": "q / max(event_count, 1)"}, "33.5"),
]


async def test_every_model_of_a_total_is_charged_and_cut(bench: Bench) -> None:
    meter = await make_meter(bench.connection, bench.tenant)
    customer = await make_customer(bench.connection, bench.tenant)
    lines = [(meter, price) for price, _ in MODELS]
    pricing = await make_pricing(bench.connection, bench.tenant, lines)
    contract = await make_contract(bench.connection, customer, [pricing])
    async with bench.rater():
        quantities = ("60", "40.75", "-0.25")
        await bench.produce([Use(customer, meter, quantity) for quantity in quantities])
        await bench.rated()
        expected = {
            ref: Fraction(amount)
            for ref, (_, amount) in zip(contract.line_refs[0], MODELS, strict=True)
        }
        rated = await charges(bench.connection)
        assert {place[0]: amount for place, (_, _, amount) in rated.items()} == expected
        await ask_to_close(bench.connection, contract, date(2024, 1, 31))
        await await_tasks(bench.connection)
    rows = await bench.connection.fetch("SELECT * FROM charge_cut WHERE event_count > 0")
    assert {str(row["contract_line_ref"]): Fraction(row["amount"]) for row in rows} == expected
