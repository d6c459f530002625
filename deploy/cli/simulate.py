"""`meterline simulate`: what a line item would cost, computed on the spot, without a server."""

from typing import Annotated, Final

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from deploy.cli.reading import read_request, write_json
from deploy.cli.verify import wide_console
from schemas.money import AMOUNT_DIGITS, PRICE_DIGITS, QUANTITY_DIGITS, scaled_to_text
from schemas.simulation import (
    EXACT_DIGITS,
    Result,
    Simulation,
    read_simulation,
    result_json,
    simulate,
)

_EXAMPLE: Final = (
    """echo '{"line_item": {"model": "PER_UNIT", "price": "0.01"}, "quantities": [1000]}' """
    "| meterline simulate"
)


def simulate_command(
    *, as_json: Annotated[bool, Parameter(name="--json", negative="")] = False
) -> None:
    """Price quantities, or events, by a line item that is read from standard input.

    The request is that of `POST /api/pricings/simulate`: `line_item` with its model and its
    prices, and `quantities`, each the total of one period; or `events`, the quantities of one
    period's events, for prices of single events and of matrix cells. Amounts have their fees and
    their discount, every digit, and are not rounded. The exit code is 2 when the request is wrong.

    For example:

        meterline simulate < request.json
        meterline simulate --json < request.json | jq '.results[].amount'
        echo '{"line_item": {"model": "PERCENTAGE", "rate": "2.9", "fixed_fee": "0.30"},
               "events": [100, 25, 60]}' | meterline simulate

    Parameters
    ----------
    as_json
        Print the answer as JSON, as the API does.
    """
    simulation = read_request(read_simulation, _EXAMPLE)
    results = simulate(simulation)
    if as_json:
        write_json({"results": [result_json(result) for result in results]})
    else:
        print_results(wide_console(), simulation, results)


def print_results(console: Console, simulation: Simulation, results: list[Result]) -> None:
    """Print a row a result, and below it a row for each tier, event or cell that it is made of."""
    table = Table("quantity", "amount", "made of", box=None, pad_edge=False, header_style="dim")
    for column in table.columns[:2]:
        column.justify = "right"
    for result in results:
        amount = scaled_to_text(int(result.amount * 10**EXACT_DIGITS), EXACT_DIGITS)
        quantity = scaled_to_text(result.quantity, QUANTITY_DIGITS)
        table.add_row(quantity, f"[bold green]{amount}[/]", simulation.price.model)
        for quantity, amount, words in _rows(result):
            table.add_row(f"[dim]{quantity}[/]", f"[dim]{amount}[/]", f"[dim]{words}[/]")
    console.print(table)


def _rows(result: Result) -> list[tuple[str, str, str]]:
    """Say what a result is made of: quantity, amount and a few words."""
    parts = [(part, "event") for part in result.events]
    parts += [(part, " ".join(map(repr, part.values))) for part in result.cells]
    return [
        (
            scaled_to_text(tier.quantity, QUANTITY_DIGITS),
            scaled_to_text(tier.amount, AMOUNT_DIGITS),
            ("open" if tier.up_to is None else f"up to {scaled_to_text(tier.up_to, 18)}")
            + f", each {scaled_to_text(tier.unit_price, PRICE_DIGITS)}"
            + (f", flat {scaled_to_text(tier.flat_fee, PRICE_DIGITS)}" if tier.flat_fee else ""),
        )
        for tier in result.tiers
    ] + [
        (
            scaled_to_text(part.quantity, QUANTITY_DIGITS),
            scaled_to_text(part.amount, AMOUNT_DIGITS),
            words,
        )
        for part, words in parts
    ]
