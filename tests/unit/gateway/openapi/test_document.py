"""The API's description: whole, valid, and true of what reads bodies."""

import gzip
import json
import re
from hashlib import sha256
from typing import Any

import jsonschema
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from gateway.app import all_routes
from gateway.ingest.bulk_forms import BULK_MEDIA, split
from gateway.ingest.compression import _OPENERS
from gateway.ingest.parsing import parse_event
from gateway.manage.body import Body
from gateway.openapi.document import examples, make_document, schema_of_example, without_marks
from gateway.openapi.operations import needs_caller, operation_of
from gateway.openapi.recording import schema_of
from gateway.openapi.routes import FOLDER

ROUTES = [route for route in all_routes({}) if not route.path.startswith("/swagger")]


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """The document as a client reads it."""
    read = json.loads(json.dumps(make_document(ROUTES)))
    assert isinstance(read, dict)
    return read


def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        f"{method.upper()} {path}": operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def request_schema(operation: dict[str, Any]) -> dict[str, Any]:
    schema: dict[str, Any] = operation["requestBody"]["content"]["application/json"]["schema"]
    return schema


def test_it_is_valid_openapi_3_1(document: dict[str, Any]) -> None:
    OpenAPIV31SpecValidator(document).validate()


def test_every_route_is_in_it(document: dict[str, Any]) -> None:
    routes = {f"{route.method} {route.path.rstrip('/')}" for route in ROUTES}
    assert set(operations(document)) == routes


def test_operations_have_names_of_their_own(document: dict[str, Any]) -> None:
    names = [operation["operationId"] for operation in operations(document).values()]
    assert len(set(names)) == len(names)


def test_what_is_under_api_says_its_scope_and_its_version(document: dict[str, Any]) -> None:
    for name, operation in operations(document).items():
        if not needs_caller(name.partition(" ")[2]):
            assert "security" not in operation
            continue
        token, session = operation["security"]
        assert session == {"session": []}
        for scope in token["token"]:
            assert re.fullmatch("(usage|billing):(read|write)|admin", scope), name
        if " /api/" in name:
            assert len(token["token"]) == 1, name
            assert "Version" in [p["name"] for p in operation["parameters"]], name


def test_every_refusal_is_a_problem_document(document: dict[str, Any]) -> None:
    for operation in operations(document).values():
        for status, response in operation["responses"].items():
            if int(status) >= 400:
                assert response == {"$ref": f"#/components/responses/Problem{status}"}
    problem = document["components"]["schemas"]["Problem"]
    for response in document["components"]["responses"].values():
        ((media, form),) = response["content"].items()
        assert media == "application/problem+json"
        jsonschema.validate(form["example"], problem)


def test_examples_are_of_routes_that_exist_and_of_the_form_that_is_described(
    document: dict[str, Any],
) -> None:
    known = operations(document)
    assert set(examples()) <= set(known)
    for name, example in examples().items():
        if "request" in example:
            jsonschema.validate(example["request"], request_schema(known[name]))
        if "answer" in example:
            answer = without_marks(example["answer"])
            jsonschema.validate(answer, schema_of_example(example["answer"]))


def test_every_route_shows_what_is_sent_and_what_is_answered(document: dict[str, Any]) -> None:
    json_form = "application/json"
    for name, operation in operations(document).items():
        body = operation.get("requestBody", {}).get("content", {})
        assert all("example" in form for media, form in body.items() if media == json_form), name
        for status, response in operation["responses"].items():
            form = response.get("content", {}).get(json_form)
            is_own = name in ("GET /openapi.json", "GET /readyz")
            assert form is None or int(status) >= 400 or is_own or "example" in form, name


def test_many_events_may_come_in_every_form_that_is_read(document: dict[str, Any]) -> None:
    operation = operations(document)["POST /api/usage/events"]
    content = operation["requestBody"]["content"]
    assert set(content) == set(BULK_MEDIA)
    for media, form in content.items():
        jsonschema.validate(form["example"], form["schema"])
        example = form["example"]
        body = example if isinstance(example, str) else json.dumps(example)
        events = list(split(body.encode(), media).events)
        assert events
        good = [event for event in events if isinstance(event, bytes) and b'"ten"' not in event]
        assert good
        for event in good:
            parse_event(event)
    (coding,) = [p for p in operation["parameters"] if p["name"] == "Content-Encoding"]
    assert set(coding["schema"]["enum"]) - {"identity"} <= set(_OPENERS)


def test_what_reads_a_body_takes_its_example_and_asks_for_nothing_undescribed() -> None:
    for route in ROUTES:
        said = operation_of(route.handler)
        example = examples().get(f"{route.method} {route.path}", {})
        if said.reads is None or "request" not in example:
            continue
        body = Body(example["request"], unknown_code="unknown_field")
        said.reads(body.fields)
        assert body.finish() == []
        known = schema_of(said.reads)["properties"]
        assert set(example["request"]) <= set(known)


def test_the_example_of_an_event_is_an_event() -> None:
    example = examples()["POST /api/usage/event"]["request"]
    event = parse_event(json.dumps(example).encode())
    assert event.idempotency_key == example["idempotency_key"]


def test_a_body_is_described_down_to_its_lists(document: dict[str, Any]) -> None:
    contract = request_schema(operations(document)["POST /api/contracts"])
    assert contract["required"] == ["customer_ref"]
    product = contract["properties"]["products"]["items"]
    assert "pricing_ref" in product["required"]
    cycle = product["properties"]["billing_cycle"]["properties"]
    assert cycle["unit"]["enum"] == ["ONE_TIME", "MONTHLY", "QUARTERLY", "YEARLY"]


def test_the_vendored_files_are_the_ones_that_their_note_names() -> None:
    note = (FOLDER / "VENDORED.md").read_text()
    digests = dict(re.findall(r"^\| `([\w.-]+)` \| `([0-9a-f]{64})` \|$", note, re.MULTILINE))
    assert set(digests) == {"swagger-ui-bundle.js", "swagger-ui.css", "favicon-32x32.png"}
    for name, digest in digests.items():
        packed = FOLDER / f"{name}.gz"
        content = gzip.decompress(packed.read_bytes()) if packed.exists() else None
        content = (FOLDER / name).read_bytes() if content is None else content
        assert sha256(content).hexdigest() == digest, name
