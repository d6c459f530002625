"""Errors as HTTP answers: RFC 9457 problem details, one table from the error tree to statuses."""

from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Final

import msgspec

from gateway.answer import NO_HEADERS, Answer
from gateway.limits import RateLimited
from runtime.postgres import TRANSIENT_ERRORS
from schemas.errors import (
    BillingError,
    Conflict,
    InvalidInput,
    NotAllowed,
    NotFound,
    RetryLater,
    TransientError,
)
from schemas.usage_event import MALFORMED

PROBLEM_JSON: Final = "application/problem+json"
RETRY_AFTER_SECONDS: Final = 2

_STATUS_OF_CODE: Final[Mapping[str, int]] = {
    **dict.fromkeys(MALFORMED, 400),
    "body_malformed": 400,
    "not_utf8": 400,
    "body_timeout": 408,
    "version_unsupported": 400,
    "idempotency_key_malformed": 400,
    "unknown_field_strict": 400,
    "nothing_to_change": 400,
    "body_too_large": 413,
    "event_too_large": 413,
    "too_many_events": 413,
    "encoding_unsupported": 415,
    "media_type_unsupported": 415,
    "token_missing": 401,
    "token_invalid": 401,
    "token_expired": 401,
    "login_failed": 401,
    "session_ended": 401,
    "login_throttled": 429,
    "rate_limited": 429,
    "too_many_uploads": 429,
    "tenant_over_share": 429,
    "login_busy": 429,
}
"""Codes whose status differs from that of their branch of the tree."""

_STATUS_OF_BRANCH: Final[tuple[tuple[type[BillingError], int], ...]] = (
    (InvalidInput, 422),
    (NotFound, 404),
    (NotAllowed, 403),
    (Conflict, 409),
    (TransientError, 503),
)


class OutcomeUnknown(TransientError):
    """Kafka did not answer in time: what was sent may be recorded, or may yet be."""


def problem(error: BaseException, instance: str) -> Answer:
    """Translate whatever a handler raised. instance: the request's id."""
    if isinstance(error, BillingError):
        return _of_billing_error(error, instance)
    if isinstance(error, TRANSIENT_ERRORS):
        unavailable = TransientError("database_unavailable", "the database can't be reached now")
        return _of_billing_error(unavailable, instance)
    return http_problem(500, "internal_error", "an error of ours; it is logged", instance)


def http_problem(
    status: int,
    code: str,
    detail: str,
    instance: str,
    *,
    headers: Mapping[str, str] = NO_HEADERS,
    members: Mapping[str, object] = MappingProxyType({}),
) -> Answer:
    """Write one problem document. members: what else it says, such as `errors`."""
    content = {
        "type": f"urn:meterline:problem:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": detail,
        "instance": instance,
        **members,
    }
    sent = dict(headers)
    if status in (429, 503):
        sent.setdefault("Retry-After", str(RETRY_AFTER_SECONDS))
    return Answer(status, msgspec.json.encode(content), PROBLEM_JSON, sent)


def _of_billing_error(error: BillingError, instance: str) -> Answer:
    members: dict[str, object] = {}
    if isinstance(error, InvalidInput):
        members["errors"] = error.problems
    if isinstance(error, OutcomeUnknown):
        members["may_be_recorded"] = True
    status = status_of(error)
    headers = {"WWW-Authenticate": "Bearer"} if status == HTTPStatus.UNAUTHORIZED else NO_HEADERS
    if isinstance(error, RetryLater):
        headers = {"Retry-After": str(error.retry_seconds)}
    if isinstance(error, RateLimited):
        left = f'"{error.policy}";r=0;t={error.retry_seconds}'
        headers = {"Retry-After": str(error.retry_seconds), "RateLimit": left}
    return http_problem(
        status, error.code, error.detail, instance, headers=headers, members=members
    )


def status_of(error: BillingError) -> int:
    """Return the HTTP status of an error of the domain."""
    status = _STATUS_OF_CODE.get(error.code)
    if status is not None:
        return status
    return next((code for kind, code in _STATUS_OF_BRANCH if isinstance(error, kind)), 500)
