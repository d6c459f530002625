"""What every lane tells of a request: its id, and what became of it when it was refused."""

import itertools
import re
import secrets
from typing import Final

from gateway import metrics
from gateway.answer import Answer
from gateway.problems import problem
from runtime.logging import get_logger
from schemas.errors import BillingError, InvalidInput

SERVER: Final = "meterline"
"""The header `Server` of every answer: the name, and no version for those who look for one."""

log = get_logger()

_is_request_id: Final = re.compile(r"[!-~]{1,128}").fullmatch
_process_id: Final = secrets.token_hex(6)
_numbers: Final = itertools.count(1)


def request_id_of(given: str | None) -> str:
    """Return the caller's id of a request if it is a sane one, else a new one."""
    if given is not None and _is_request_id(given):
        return given
    return f"{_process_id}-{next(_numbers)}"


def refusal(error: Exception, request_id: str, method: str, path: str) -> Answer:
    """Translate an error; one that nobody raised on purpose is logged and counted."""
    answer = problem(error, request_id)
    if isinstance(error, InvalidInput) and path.startswith("/api/usage/event"):
        metrics.EVENTS_REJECTED.labels(error.code).inc()
    elif not isinstance(error, BillingError):
        metrics.ERRORS.inc()
        log.error(
            "request_failed",
            request_id=request_id,
            method=method,
            path=path[:200],
            status=answer.status,
            exc_info=error,
        )
    return answer
