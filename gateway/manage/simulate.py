"""Simulation of prices: of single line items, or of a customer's history; nothing is written."""

from aiohttp import web

from gateway.ingest.routes import read_body
from gateway.manage.answers import json_answer
from gateway.manage.body import Body, Fields, parse_object
from gateway.manage.context import BODY_BYTES_MAX, routes_of
from gateway.manage.history import read_history, simulate_history
from schemas.simulation import read_simulation, result_json, simulate


def describe_simulation(fields: Fields) -> None:
    """Name the fields of both bodies; `schemas.simulation` reads those of a line item."""
    for name in ("line_item", "quantities", "events"):
        fields.has(name)
    if not fields.has("line_item"):
        read_history(fields)


async def simulate_pricing(request: web.Request) -> web.Response:
    """POST /api/pricings/simulate: what a pricing would cost.

    With `line_item` and `quantities` or `events`: each period's amount, not rounded. With
    `customer_ref`, `from` and `to`, and a `pricing_ref` or `line_items`: the customer's periods
    under that pricing, line by line beside what was billed.
    """
    sent = parse_object(await read_body(request, BODY_BYTES_MAX))
    if "customer_ref" in sent:
        body = Body(sent, unknown_code="unknown_field")
        return json_answer(await simulate_history(request, body))
    results = [result_json(result) for result in simulate(read_simulation(sent))]
    return json_answer({"results": results})


ROUTES = routes_of(
    "POST", "/api/pricings/simulate", simulate_pricing, "billing:read", reads=describe_simulation
)
