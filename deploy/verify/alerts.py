"""Alerts: what has reached a threshold has fired, and nothing else has."""

from typing import Final

from deploy.verify.check import Check, by_statements
from runtime.postgres import Queries

queries = Queries.beside(__file__, "alerts.sql")

CHECKS: Final = (
    Check(
        name="alerts",
        sentence="every line that has reached an alert's threshold has fired it, and nothing else",
        unit="firings",
        run=by_statements(queries.firings_counted, queries.firings_broken, queries.alerts_silent),
    ),
)
