"""Errors as answers: each branch of the tree has a status, each problem says the same things."""

import json

import asyncpg
import pytest

from gateway.problems import OutcomeUnknown, http_problem, problem
from schemas.errors import (
    BillingError,
    Conflict,
    InvalidInput,
    InvalidUsageEvent,
    NotAllowed,
    NotFound,
    Problem,
    TransientError,
)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InvalidInput("number_malformed", "x"), 422),
        (InvalidUsageEvent("json_malformed", "x"), 400),
        (InvalidInput("version_unsupported", "x"), 400),
        (InvalidUsageEvent("event_too_large", "x"), 413),
        (InvalidInput("body_timeout", "x"), 408),
        (NotFound("any", "x"), 404),
        (NotAllowed("scope_missing", "x"), 403),
        (NotAllowed("token_expired", "x"), 401),
        (Conflict("any", "x"), 409),
        (TransientError("any", "x"), 503),
        (TransientError("tenant_over_share", "x"), 429),
        (OutcomeUnknown("any", "x"), 503),
        (BillingError("any", "x"), 500),
        (ConnectionResetError(), 503),
        (asyncpg.CannotConnectNowError(), 503),
        (TimeoutError(), 503),
        (KeyError("secret"), 500),
    ],
)
def test_an_error_has_the_status_of_its_branch_or_its_code(error: Exception, status: int) -> None:
    answer = problem(error, "id-1")
    content = json.loads(answer.body)
    assert answer.status == content["status"] == status
    assert answer.content_type == "application/problem+json"
    assert content.keys() >= {"type", "title", "detail", "instance", "code"}
    assert content["instance"] == "id-1"
    assert ("Retry-After" in answer.headers) == (status in (429, 503))
    assert ("WWW-Authenticate" in answer.headers) == (status == 401)


def test_every_wrong_field_is_listed() -> None:
    error = InvalidInput.of([Problem("a", "b", "/c"), Problem("d", "e", "/f")])
    assert json.loads(problem(error, "").body)["errors"] == [
        {"code": "a", "detail": "b", "pointer": "/c"},
        {"code": "d", "detail": "e", "pointer": "/f"},
    ]


def test_an_unknown_outcome_says_that_it_may_be_recorded() -> None:
    assert json.loads(problem(OutcomeUnknown("x", "y"), "").body)["may_be_recorded"] is True
    assert "may_be_recorded" not in json.loads(problem(TransientError("x", "y"), "").body)


def test_an_error_of_ours_tells_nothing() -> None:
    assert b"secret" not in problem(KeyError("secret"), "").body


def test_members_join_the_document() -> None:
    answer = http_problem(404, "x", "y", "i", headers={"A": "b"}, members={"more": 1})
    assert json.loads(answer.body)["more"] == 1
    assert answer.headers == {"A": "b"}
