"""Payments: every document stands where the money that came for it says."""

from typing import Final

from deploy.verify.check import Check, by_statements
from runtime.postgres import Queries

queries = Queries.beside(__file__, "payments.sql")

CHECKS: Final = (
    Check(
        name="payments",
        sentence="every document is paid by the payments noted for it, and only then",
        unit="payments",
        run=by_statements(
            queries.payments_counted, queries.payments_broken, queries.payments_of_nothing
        ),
    ),
)
