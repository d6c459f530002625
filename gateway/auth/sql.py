"""The statements of this package."""

from typing import Final

from runtime.postgres import Queries

queries: Final = Queries.beside(__file__)

QUERY_SECONDS: Final = 5.0
"""How long one of them may take; what asks for a connection waits no longer either."""
