"""Roll-ups: the sums that reports read are the events, with what waits to be folded into them."""

from typing import Final

from deploy.verify.check import Check, by_statements
from runtime.postgres import Queries

queries = Queries.beside(__file__, "rollups.sql")

CHECKS: Final = (
    Check(
        name="rollups",
        sentence="every sum of usage that reports read is the fold of its events as they count now",
        unit="sums",
        run=by_statements(
            queries.sums_counted,
            queries.sums_broken,
            queries.customers_broken,
            queries.places_broken,
        ),
    ),
)
