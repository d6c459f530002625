"""Versions of contracts: one alone prices a period."""

from typing import Final

from deploy.verify.check import Check, by_statements
from runtime.postgres import Queries

queries = Queries.beside(__file__, "versions.sql")

CHECKS: Final = (
    Check(
        name="versions",
        sentence="every period is priced by one version of its contract, the last one rated",
        unit="contract products",
        run=by_statements(queries.versions_counted, queries.versions_broken),
    ),
)
