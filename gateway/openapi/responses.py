"""What every route may answer when it refuses: problem documents, one a status."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from gateway.openapi.operations import Operation, needs_caller
from gateway.problems import PROBLEM_JSON, RETRY_AFTER_SECONDS

PROBLEM_SCHEMA: Final[Mapping[str, Any]] = {
    "type": "object",
    "description": "What went wrong (RFC 9457).",
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string", "description": "The same over releases."},
        "detail": {"type": "string", "description": "A sentence for people."},
        "instance": {"type": "string", "description": "The request's id."},
        "errors": {
            "type": "array",
            "description": "One for everything that is wrong.",
            "items": {
                "type": "object",
                "properties": {
                    "pointer": {"type": "string", "description": "JSON Pointer (RFC 6901)."},
                    "detail": {"type": "string"},
                    "code": {"type": "string"},
                },
                "required": ["pointer", "detail", "code"],
            },
        },
        "may_be_recorded": {
            "type": "boolean",
            "description": "An event's outcome is unknown: sent again with its key it counts once.",
        },
    },
    "required": ["type", "title", "status", "code", "detail", "instance"],
}

_WORDS: Final[Mapping[int, str]] = {
    400: "The request can't be read, or its Version is missing.",
    401: "The token is missing, expired or forged.",
    403: "The token lacks the scope.",
    404: "Nothing of yours has this name.",
    408: "The body did not come in time.",
    409: "It contradicts what is there: read it again.",
    413: "It is too large.",
    415: "Its form or its encoding is not understood.",
    422: "It was read, and something in it is wrong.",
    429: "Too much at once: try again later.",
    503: "The log or the database can't be reached now: try again later.",
}
_EXAMPLES: Final[Mapping[int, tuple[str, str]]] = {
    400: ("version_unsupported", "the header Version is needed; supported: V0"),
    401: ("token_expired", "the token has expired: log in again"),
    403: ("scope_missing", "the scope 'billing:write' is needed"),
    404: ("customer_unknown", "there is no customer 00000000-0000-4000-8000-00000000dead"),
    408: ("body_timeout", "the body did not come in time"),
    409: ("name_taken", "there is a product named 'Platform' already"),
    413: ("body_too_large", "the body must be at most 10485760 bytes"),
    415: ("encoding_unsupported", "the body may be plain, gzip or zstd"),
    422: ("number_malformed", "must be a decimal number"),
    429: ("rate_limited", "too many requests: try again in 1 s"),
    503: ("log_unavailable", "the log of events can't be reached now"),
}
"""What a problem of each status may say: its code and its detail."""

_RETRIED: Final = (429, 503)
_RETRY_AFTER: Final = {
    "description": "Seconds to wait.",
    "schema": {"type": "integer", "examples": [RETRY_AFTER_SECONDS]},
}

COMPONENT_HEADERS: Final[Mapping[str, Any]] = {
    "RateLimit": {
        "description": "What is left of each limit, and in how many seconds it is whole again.",
        "schema": {"type": "string", "examples": ['"events";r=4995000;t=1, "bytes";r=2680000;t=1']},
    },
    "RateLimit-Policy": {
        "description": "The limits a process: how much in how many seconds.",
        "schema": {"type": "string", "examples": ['"requests";q=10000;w=10']},
    },
}
RATE_HEADERS: Final[Mapping[str, Any]] = {
    name: {"$ref": f"#/components/headers/{name}"} for name in COMPONENT_HEADERS
}


def _example(status: int) -> dict[str, Any]:
    """Return a problem document of a status."""
    code, detail = _EXAMPLES[status]
    shown = {
        "type": f"urn:meterline:problem:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": detail,
        "instance": "8d2c11a57f3e-42",
    }
    if status == HTTPStatus.UNPROCESSABLE_ENTITY:
        shown["errors"] = [{"pointer": "/quantity", "detail": detail, "code": code}]
    return shown


COMPONENT_RESPONSES: Final[Mapping[str, Any]] = {
    f"Problem{status}": {
        "description": words,
        "content": {
            PROBLEM_JSON: {
                "schema": {"$ref": "#/components/schemas/Problem"},
                "example": _example(status),
            }
        },
        **({"headers": {"Retry-After": _RETRY_AFTER}} if status in _RETRIED else {}),
    }
    for status, words in _WORDS.items()
}


def refusals(method: str, path: str, said: Operation, *, has_body: bool) -> dict[str, Any]:
    """Return the problems that a route may answer with."""
    names_in_body = path.endswith("/invoices/reconcile") or (
        method == "POST" and path.endswith(("/update", "/auth/blocks"))
    )
    rules = (
        (True, (503,)),
        (said.status >= HTTPStatus.BAD_REQUEST, (said.status,)),
        (path.startswith("/api/"), (400,)),
        (needs_caller(path) or path == "/auth/login", (401, 403, 429)),
        ("{" in path or names_in_body, (404,)),
        (path.startswith("/i/"), (429,)),
        (has_body or said.is_repeatable, (400, 408, 413, 415, 422)),
        (said.reads is not None or said.is_repeatable or method == "DELETE", (409,)),
        (said.asks is not None, (422,)),
    )
    statuses = {status for holds, found in rules if holds for status in found}
    return {
        str(status): {"$ref": f"#/components/responses/Problem{status}"}
        for status in sorted(statuses)
    }
