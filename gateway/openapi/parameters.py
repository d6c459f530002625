"""Where a request says something besides its body: its path, its query and its headers."""

import re
from typing import Any, Final

from gateway.openapi.operations import Operation
from gateway.openapi.recording import schema_of
from gateway.openapi.words import WORDS

Parameter = dict[str, Any]

_VERSION: Final = {
    "name": "Version",
    "in": "header",
    "required": True,
    "description": "The version of the API.",
    "schema": {"type": "string", "enum": ["V0"], "default": "V0"},
}
_REQUEST_ID: Final = {
    "name": "X-Request-Id",
    "in": "header",
    "description": "Your name of the request; it comes back, and is in every line of the log. One "
    "that is no 1 to 128 printable characters is replaced.",
    "schema": {"type": "string"},
}
_PREFER: Final = {
    "name": "Prefer",
    "in": "header",
    "description": "`handling=strict` refuses unknown fields; `return=minimal` leaves out the "
    "lists of refs and receipts; `wait=10` answers for one event when it is rated, with what "
    "became of it, if that takes at most so many seconds (30 at most): `Preference-Applied` says "
    "that it did.",
    "schema": {"type": "string", "examples": ["handling=strict"]},
}
_CONTENT_ENCODING: Final = {
    "name": "Content-Encoding",
    "in": "header",
    "description": "How the body is compressed.",
    "schema": {"type": "string", "enum": ["identity", "gzip", "zstd"]},
}
_IDEMPOTENCY_KEY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "A name of this request: sent again with it, it is done once and answered as "
    "before (a password is shown once); an event counts once.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
}


def parameters_of(method: str, path: str, said: Operation) -> list[Parameter]:
    """Return the parameters of one method of a path."""
    found = [_path_parameter(name) for name in re.findall(r"\{([a-z_]+)\}", path)]
    if said.asks is not None:
        found += _query_parameters(said)
    if path.startswith("/api/"):
        found.append(_VERSION)
        if method != "GET":
            found.append(_PREFER)
    if said.is_repeatable or (method == "POST" and path.startswith("/api/")):
        found.append(_IDEMPOTENCY_KEY)
    if said.body is list:
        found.append(_CONTENT_ENCODING)
    return [*found, _REQUEST_ID]


def _path_parameter(name: str) -> Parameter:
    schema = {"type": "string"} | ({"format": "uuid"} if name.endswith("_ref") else {})
    return _parameter(name, "path", schema) | {"required": True}


def _query_parameters(said: Operation) -> list[Parameter]:
    assert said.asks is not None
    query = schema_of(said.asks)
    needed = set(query.get("required", ()))
    return [
        _parameter(name, "query", _one_type(schema))
        | ({"required": True} if name in needed else {})
        for name, schema in query["properties"].items()
    ]


def _one_type(schema: Parameter) -> Parameter:
    """Return a schema without the forms that only JSON has: a query is text."""
    kind = schema.get("type")
    plain = {name: value for name, value in schema.items() if name != "description"}
    return plain | ({"type": kind[0]} if isinstance(kind, list) else {})


def _parameter(name: str, place: str, schema: Parameter) -> Parameter:
    words = WORDS.get(name)
    shown: Parameter = {"name": name, "in": place, "schema": schema}
    return shown | ({"description": words} if words else {})
