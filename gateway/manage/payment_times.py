"""What can be billed before or during use, and from which period on. Pure."""

from collections.abc import Sequence
from datetime import date, datetime

from gateway.manage.overrides import Line
from gateway.manage.terms import Dates, NewProduct
from gateway.manage.values import DUE_UPON_USAGE
from schemas.aggregation import PLAIN
from schemas.periods import BillingTerms, first_instant, period_at
from schemas.price import basis_of, from_json
from schemas.renewal import anchor_of


def check_payment_time(product: NewProduct, net_terms: str, lines: Sequence[Line]) -> None:
    """Note a problem where a product can't be billed before or during use."""
    fields, when = product.terms, product.payment_time
    if when == "AFTER_USE":
        return
    if net_terms == DUE_UPON_USAGE:
        detail = f"{when} can't be where every event has a document of its own (DUE_UPON_USAGE)"
        fields.add("not_supported_yet", detail, "payment_time")
    if when == "DURING_USE":
        for line in lines:
            if not _is_sum(line):
                detail = (
                    f"{line['item']!r} can't be billed during use yet: its meter adds up otherwise "
                    "than by sums and counts, or its price is one of cells or single events"
                )
                fields.add("not_supported_yet", detail, "payment_time")


def _is_sum(line: Line) -> bool:
    """Tell whether a line's total before an instant follows from its total and what came later."""
    is_plain = line["aggregation"] in (None, *PLAIN)
    return is_plain and basis_of(from_json(line["price"])) not in ("CELLS", "EVENTS")


def check_renewal(product: NewProduct, dates: Dates) -> None:
    """Note a problem where a product that renews itself would be billed on other days."""
    if not product.renews or product.payment_time != "DURING_USE" or dates.issue_day is not None:
        return
    cycle = product.cycle
    if dates.end_date is not None and cycle.unit != "ONE_TIME":
        first, last = dates.start_date, dates.end_date
        if anchor_of(first, last, cycle.unit, cycle.length) is not None:
            detail = "must begin with a whole period, to be billed during use and renew itself"
            product.terms.add("not_supported_yet", detail, "payment_time")


def ahead_again_since(terms: BillingTerms, now: datetime) -> date | None:
    """Return the day from which on the periods of terms are billed ahead that rate one anew.

    The running period is billed behind its end, as a whole: what terms before have billed ahead of
    it is given back then.
    """
    if terms.payment_time == "AFTER_USE" or now < first_instant(terms.first_day, terms.timezone):
        return None
    running = period_at(terms, now)
    return terms.end_day if running is None else running.end_date


def ahead_since(terms: BillingTerms, now: datetime) -> date | None:
    """Return the day from which on the periods of a new product are billed ahead; None: all are.

    What has ended by now waits for a call, and is billed as a whole then.
    """
    if terms.payment_time == "AFTER_USE" or now < first_instant(terms.first_day, terms.timezone):
        return None
    running = period_at(terms, now)
    return terms.end_day if running is None else running.start_date
