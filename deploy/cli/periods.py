"""`meterline periods`: how a contract's terms cut time into billing periods, without a server."""

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Annotated, Final

from cyclopts import Parameter
from cyclopts.validators import Number
from rich.console import Console
from rich.table import Table

from deploy.cli.reading import read_request, write_json
from deploy.cli.verify import wide_console
from gateway.manage import values
from gateway.manage.body import Body
from gateway.manage.terms import PAYMENT_TIMES, read_cycle
from schemas.errors import InvalidInput
from schemas.periods import BillingTerms, Period, periods

PERIODS_MAX: Final = 1_000

_EXAMPLE: Final = (
    """echo '{"billing_start_date": "2026-01-15", "billing_end_date": "2026-06-30"}' """
    "| meterline periods"
)


def periods_command(
    *,
    limit: Annotated[int, Parameter(validator=Number(gte=1, lte=12_000))] = PERIODS_MAX,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """List the billing periods of the terms that are read from standard input.

    The terms are those of a contract's product: `billing_start_date`, `billing_end_date` (the last
    day in force; left out: until cancelled), `billing_cycle` {unit, cycle}, `issue_day`,
    `payment_time` and `timezone`. Dates are those of the time zone; a period ends before its `end`.
    The exit code is 2 when the request is wrong.

    For example:

        meterline periods --json < terms.json
        echo '{"billing_start_date": "2026-01-15", "billing_end_date": "2026-06-30",
               "billing_cycle": {"unit": "MONTHLY", "cycle": 1}, "issue_day": "2026-02-01",
               "payment_time": "AFTER_USE", "timezone": "Europe/Berlin"}' | meterline periods

    Parameters
    ----------
    limit
        How many periods at most.
    as_json
        Print them as JSON.
    """
    terms = read_request(read_terms, _EXAMPLE)
    found = list(islice(periods(terms), limit))
    if as_json:
        write_json([period_json(period) for period in found])
    else:
        print_periods(wide_console(), found)


def read_terms(request: Mapping[str, object]) -> BillingTerms:
    """Read the terms as a contract's product says them. Raises InvalidInput that lists all."""
    body = Body(request, unknown_code="unknown_field")
    fields = body.fields
    zone = fields.optional(values.timezone, "timezone") or "UTC"
    start = fields.required(values.day_or_instant, "billing_start_date")
    end = fields.optional(values.day_or_instant, "billing_end_date")
    issue_day = fields.optional(values.day_or_instant, "issue_day")
    cycle = read_cycle(fields.nested("billing_cycle"))
    payment_time = fields.optional(values.choice(*PAYMENT_TIMES), "payment_time") or "AFTER_USE"
    body.finish()
    days = [None if day is None else values.day_in(day, zone) for day in (start, end, issue_day)]
    assert days[0] is not None
    if days[1] is not None and days[1] < days[0]:
        detail = "must not be before billing_start_date"
        raise InvalidInput("dates_crossed", detail, "/billing_end_date")
    if days[1] is None and cycle.unit == "ONE_TIME":
        raise InvalidInput("required", "ONE_TIME needs a last day", "/billing_end_date")
    return BillingTerms(
        start_date=days[0],
        end_date=days[1],
        unit=cycle.unit,
        cycle=cycle.length,
        issue_day=days[2],
        payment_time=PAYMENT_TIMES[payment_time],
        timezone=zone,
    )


def period_json(period: Period) -> dict[str, object]:
    """Show a period in local dates."""
    return {
        "start": period.start_date,
        "end": period.end_date,
        "issue_date": period.issue_date,
        "is_partial": period.is_partial,
    }


def print_periods(console: Console, found: Sequence[Period]) -> None:
    """Print a row a period."""
    table = Table("start", "end", "issued", "days", box=None, pad_edge=False, header_style="dim")
    for period in found:
        part = period.part
        days = f"{part.through - part.before}"
        if period.is_partial:
            days = f"[yellow]{days} of {part.whole}[/]"
        table.add_row(
            f"[bold]{period.start_date}[/]", str(period.end_date), str(period.issue_date), days
        )
    console.print(table)
