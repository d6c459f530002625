"""The OpenAPI 3.1 document, made from the routes as they are declared.

Bodies and queries are described by the functions and types that read them, answers by examples of
them: `examples.json` holds one a route, where `name?` is a field that may be null, and
`name??` one that may also be left out.
"""

import re
from collections.abc import Iterable, Mapping
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import msgspec
from aiohttp import web

from gateway.auth.origin import PLAIN_COOKIE, SECURE_COOKIE
from gateway.ingest.parsing import EventFields
from gateway.openapi.bulk import bulk_request
from gateway.openapi.operations import Operation, needs_caller, operation_of
from gateway.openapi.parameters import parameters_of
from gateway.openapi.recording import Schema, described, schema_of
from gateway.openapi.responses import (
    COMPONENT_HEADERS,
    COMPONENT_RESPONSES,
    PROBLEM_SCHEMA,
    RATE_HEADERS,
    refusals,
)
from gateway.openapi.words import FORMAT_FIELDS, SCHEMAS, WORDS
from schemas.published import EVENT_FIELDS, object_schema

_ABOUT: Final = """\
Usage-based billing, from the event to the invoice.

Log in with an API key at `/auth/login` and send the token as `Authorization: Bearer …`, with the
header `Version: V0`. Numbers are exact: digits come out as they went in. null and an empty text
count as left out. Errors are `application/problem+json` (RFC 9457) and list everything that is
wrong.
"""

_FORM: Final = "multipart/form-data"

_FORMATS: Final = (
    ("uuid", re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")),
    ("date-time", re.compile(r"\d{4}-\d\d-\d\dT.*")),
    ("date", re.compile(r"\d{4}-\d\d-\d\d")),
)

_TWO_KINDS: Final[Mapping[str, Schema]] = {"net_terms": {"type": ["integer", "string"]}}
"""Fields of answers whose kind an example can't tell."""

_WHOLE: Final[Mapping[str, Schema]] = {
    "fields": FORMAT_FIELDS,
    "values": {"type": "object"},
    "product_request": {"type": "object"},
    "additional_report_data": {"type": "object"},
}
"""The same for objects, whose fields differ from one to the next."""


@cache
def examples() -> Mapping[str, Mapping[str, Any]]:
    """Return the examples: by method and path, the `request` and the `answer`.

    `request_of` and `answer_of` name the operation whose example is the same.
    """
    text = (Path(__file__).parent / "examples.json").read_bytes()
    found = msgspec.json.decode(text, type=dict[str, dict[str, Any]])
    for example in found.values():
        for part in ("request", "answer"):
            same_as = example.pop(f"{part}_of", None)
            if same_as is not None:
                example[part] = found[same_as][part]
    return found


def make_document(routes: Iterable[web.RouteDef]) -> dict[str, Any]:
    """Describe routes. A path with and without a slash at its end is one."""
    paths: dict[str, dict[str, Any]] = {}
    taken: set[str] = set()
    for route in routes:
        path = route.path.rstrip("/")
        operations = paths.setdefault(path, {})
        if route.method.lower() not in operations:
            operations[route.method.lower()] = _operation(route, path, taken)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Meterline",
            "version": "V0",
            "description": _ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": tag} for tag in sorted({_tag(path) for path in paths})],
        "paths": paths,
        "components": {
            "schemas": {"Problem": PROBLEM_SCHEMA},
            "responses": COMPONENT_RESPONSES,
            "headers": COMPONENT_HEADERS,
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "What POST /auth/login answers to an API key.",
                },
                "session": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": SECURE_COOKIE,
                    "description": "What POST /auth/login sets for an admin "
                    f"(`{PLAIN_COOKIE}` on plain HTTP, which is the loopback interface's).",
                },
            },
        },
    }


def _tag(path: str) -> str:
    parts = path.split("/")
    return parts[2] if parts[1] == "api" else "auth" if parts[1] == "auth" else "service"


def _operation(route: web.RouteDef, path: str, taken: set[str]) -> dict[str, Any]:
    """Describe one method of a path. taken: the names of operations so far."""
    said = operation_of(route.handler)
    example = examples().get(f"{route.method} {path}", {})
    name = _name(route, path, taken)
    shown: dict[str, Any] = {
        "operationId": name,
        "tags": [_tag(path)],
        "summary": name.replace("_", " ").capitalize(),
        "description": _description(route),
        "parameters": parameters_of(route.method, path, said),
        "responses": _responses(route.method, path, said, example),
    }
    if needs_caller(path):
        shown["security"] = [{"token": [said.scope] if said.scope else []}, {"session": []}]
    if _takes_body(said):
        shown["requestBody"] = _request(said, example)
    return shown


def _name(route: web.RouteDef, path: str, taken: set[str]) -> str:
    """Return the name of an operation: its handler's, or its path's where many share one."""
    name: str = route.handler.__name__
    if name in taken or name == "not_yet":
        words = re.findall(r"[a-z]+", re.sub(r"\{[a-z_]+\}", "", path.removeprefix("/api")))
        name = "_".join([route.method.lower(), *words])
    taken.add(name)
    return name


def _description(route: web.RouteDef) -> str:
    """Return what the handler's docstring says, without the path that it may begin with."""
    text = " ".join((route.handler.__doc__ or "").split())
    said = re.sub(r"^(GET|POST|PUT|DELETE) \S+?[.:]?( |$)", "", text)
    return said[:1].upper() + said[1:]


def _takes_body(said: Operation) -> bool:
    return said.reads is not None or said.body is not None


def _request(said: Operation, example: Mapping[str, Any]) -> dict[str, Any]:
    if said.body is list:
        return bulk_request(_decoded_schema(EventFields), example.get("request"))
    schema = _body_schema(said)
    content: dict[str, Any] = {}
    for media in said.body_media:
        content[media] = {"schema": _form_schema(schema) if media == _FORM else schema}
        if media == "application/json" and "request" in example:
            content[media]["example"] = example["request"]
    return {"required": "required" in schema or said.reads is None, "content": content}


def _form_schema(schema: Schema) -> Schema:
    """Return the schema of a form whose one part is the body."""
    return {"type": "object", "properties": {"file": schema}, "required": ["file"]}


def _body_schema(said: Operation) -> Schema:
    if said.reads is not None:
        return schema_of(said.reads)
    assert said.body is not None
    if said.body is bytes:
        return {"type": "string"}
    return _decoded_schema(said.body)


def _decoded_schema(body: type) -> Schema:
    """Return the schema of what a type decodes."""
    names = msgspec.structs.fields(body)
    known = {
        field.encode_name: EVENT_FIELDS.get(
            field.encode_name,
            described(field.encode_name, SCHEMAS.get(field.encode_name, {"type": "string"})),
        )
        for field in names
    }
    return object_schema(body, known)


def _responses(
    method: str, path: str, said: Operation, example: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the answer when all is well, unless it never is, and the refusals."""
    answers = refusals(method, path, said, has_body=_takes_body(said))
    if said.status < HTTPStatus.BAD_REQUEST:
        answers[str(said.status)] = _success(said, example)
        if needs_caller(path):
            answers[str(said.status)]["headers"] = RATE_HEADERS
    return dict(sorted(answers.items()))


def _success(said: Operation, example: Mapping[str, Any]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for media in said.media:
        content[media] = {}
        if media == "application/json" and "answer" in example:
            answer = example["answer"]
            content[media] = {"schema": schema_of_example(answer), "example": without_marks(answer)}
    return {
        "description": "Done." if said.status == HTTPStatus.OK else "Taken.",
        "content": content,
    }


def schema_of_example(value: object, name: str = "") -> Schema:
    """Return the schema of answers that look like an example."""
    if name in _WHOLE:
        return dict(_WHOLE[name])
    if isinstance(value, dict):
        properties = {}
        for key, part in value.items():
            plain = key.rstrip("?")
            schema = schema_of_example(part, plain)
            properties[plain] = _or_null(schema) if key.endswith("?") else schema
        needed = [key.rstrip("?") for key in value if not key.endswith("??")]
        return {"type": "object", "properties": properties, "required": needed}
    if isinstance(value, list):
        items = schema_of_example(value[0]) if value else {}
        return {"type": "array", "items": _or_null(items) if None in value else items}
    schema = _TWO_KINDS.get(name) or _scalar_schema(value, is_ref=name.endswith("_ref"))
    return schema | ({"description": WORDS[name]} if name in WORDS else {})


def _or_null(schema: Schema) -> Schema:
    kind = schema.get("type", [])
    kinds = kind if isinstance(kind, list) else [kind]
    return schema | {"type": [*kinds, "null"]} if kinds else schema


def _scalar_schema(value: object, *, is_ref: bool) -> Schema:
    """Return the schema of a value by its example. is_ref: other ids may look like refs."""
    if value is None:
        return {}
    if isinstance(value, bool):
        return {"type": "boolean"}
    if isinstance(value, int | float):
        return {"type": "number"}
    found = next((name for name, form in _FORMATS if form.fullmatch(str(value))), None)
    is_format = found is not None and (is_ref or found != "uuid")
    return {"type": "string"} | ({"format": found} if is_format else {})


def without_marks(value: Any) -> Any:  # noqa: ANN401 - any JSON
    """Return an example without the marks at the names of fields that may be null."""
    if isinstance(value, dict):
        return {key.rstrip("?"): without_marks(part) for key, part in value.items()}
    if isinstance(value, list):
        return [without_marks(part) for part in value]
    return value
