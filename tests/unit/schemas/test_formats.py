"""Formats turn a sender's own fields into an event's: every digit kept, every fault named."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import InvalidInput
from schemas.expression import LookUp
from schemas.formats import TARGETS, Format, Made
from schemas.formats_definition import (
    DATA_KEYS_MAX,
    DEFINITION_BYTES_MAX,
    default_format,
    parse_definition,
)
from schemas.formats_source import read_source

CUSTOMER = "0e6f5a52-5f0e-4a8c-9d0a-7f1f4b7c1a11"
METER = "7a0d54c5-2f5e-4c5c-8a7e-9d1c6f0b2b22"
PLAIN: dict[str, Any] = {
    "timestamp": {"path": "when"},
    "customer_ref": {"path": "who"},
    "usage_product_ref": {"constant": METER},
    "quantity": {"path": "amount"},
}
SENT: dict[str, Any] = {"when": "2024-02-05T12:00:00Z", "who": CUSTOMER, "amount": 10}


def by_external_id(key: str, value: str) -> str:
    if (key, value) != ("external_id", "K-7"):
        raise InvalidInput("customer_unknown", f"no customer has the {key} {value!r}")
    return CUSTOMER


LOOK_UPS: Mapping[str, LookUp] = {"customer_by": by_external_id, "meter_by": by_external_id}


def format_of(**rules: object) -> Format:
    return parse_definition(json.dumps(PLAIN | rules).encode())


def make(form: Format, sent: str | Mapping[str, Any]) -> Made:
    text = sent if isinstance(sent, str) else json.dumps(sent)
    return form.make(read_source(text.encode()), LOOK_UPS)


def made(sent: str | Mapping[str, Any], **rules: object) -> dict[str, Any]:
    event = json.loads(make(format_of(**rules), sent).event(), parse_float=str)
    assert isinstance(event, dict)
    return event


def refused(definition: object) -> dict[str, str]:
    text = definition if isinstance(definition, str) else json.dumps(definition)
    with pytest.raises(InvalidInput) as caught:
        parse_definition(text.encode())
    return {problem.pointer: problem.code for problem in caught.value.problems}


def test_paths_and_constants_give_fields() -> None:
    assert made(SENT) == {
        "timestamp": "2024-02-05T12:00:00Z",
        "customer_ref": CUSTOMER,
        "usage_product_ref": METER,
        "quantity": 10,
    }


def test_what_a_path_takes_keeps_its_digits_and_its_order() -> None:
    sent = (
        '{"when": "w", "who": "c", "amount": 1.50e0, "in": {"z": [1.0, 12345678901234567890.10]}}'
    )
    form = format_of(additional_report_data={"path": "in"})
    event = make(form, sent).event()
    assert b'"quantity":1.50e0' in event
    assert b'"additional_report_data":{"z": [1.0, 12345678901234567890.10]}' in event


def test_paths_lead_into_objects_and_lists() -> None:
    sent = SENT | {"usage": {"parts": [{"Menge (kWh)": "7.5"}]}}
    assert made(sent, quantity={"path": "usage.parts[0].`Menge (kWh)`"})["quantity"] == "7.5"
    for path in ("usage.parts[1]", "usage.nothing", "amount.inside", "usage['0']", "usage[0]"):
        assert "quantity" not in made(sent, quantity={"path": path})


def test_expressions_compute_texts_numbers_and_look_ups() -> None:
    sent = SENT | {"account": " K-7 ", "bytes": 1536, "plan": "free", "id": 4711}
    event = made(
        sent,
        customer_ref={"expression": "customer_by('external_id', trim(account))"},
        quantity={"expression": "if(plan == 'free', 0, 1) + round(bytes / 1024, 3)"},
        idempotency_key={"expression": "concat('batch-', id)"},
    )
    assert event["customer_ref"] == CUSTOMER
    assert event["quantity"] == "1.5"
    assert event["idempotency_key"] == "batch-4711"


def test_numbers_become_texts_where_an_event_has_texts() -> None:
    event = made(SENT | {"id": 4711}, idempotency_key={"path": "id"}, customer_name={"path": "id"})
    assert event["idempotency_key"] == "4711"
    assert event["customer_name"] == "4711"


def test_units_are_a_factor_without_loss() -> None:
    factor = {"path": "amount", "factor": "0.001"}
    assert made(SENT | {"amount": 1}, quantity=factor)["quantity"] == "0.001"
    assert made(SENT | {"amount": "-2.50"}, quantity=factor)["quantity"] == "-0.0025"
    assert "quantity" not in made(SENT | {"amount": None}, quantity=factor)
    text = json.dumps(SENT).replace("10", "12345678901234567890.123456789012345678")
    event = make(format_of(quantity={"path": "amount", "factor": 10}), text).event()
    assert b'"quantity":123456789012345678901.23456789012345678}' in event


def test_the_keys_of_the_additional_data_have_rules_of_their_own_and_the_rest_follows() -> None:
    sent = SENT | {"region": "eu", "empty": None, "weight": "2.5", "site": {"n": 1}}
    data = {"keys": {"Region": {"path": "region"}, "kg": {"path": "weight", "factor": 2}}}
    assert made(sent, additional_report_data=data)["additional_report_data"] == {
        "Region": "eu",
        "kg": 5,
    }
    rest = made(sent, additional_report_data=data | {"rest": True})["additional_report_data"]
    assert rest == {"Region": "eu", "kg": 5, "site": {"n": 1}}
    assert "additional_report_data" not in made(SENT, additional_report_data={"rest": True})


def test_a_field_that_is_missing_is_left_out_and_an_expression_says_so() -> None:
    assert "quantity" not in made({"when": "w"})
    result = make(format_of(quantity={"expression": "amount * 2"}), {})
    (problem,) = result.problems
    assert (problem.code, problem.pointer) == ("expression_type", "")
    assert problem.detail.startswith("quantity: at character 1")
    assert made({}, quantity={"expression": "coalesce(amount, 0) * 2"})["quantity"] == 0


def test_every_rule_that_fails_is_named_with_the_field_that_it_reads() -> None:
    form = format_of(
        timestamp={"path": "at.time", "date_format": "dd.MM.yyyy", "timezone": "UTC"},
        customer_ref={"expression": "customer_by('external_id', who)"},
        quantity={"path": "amount", "factor": 2},
        additional_report_data={"keys": {"a": {"expression": "1/3"}}},
    )
    result = make(form, {"at": {"time": "2024-02-05"}, "who": "K-8", "amount": "much"})
    assert [(problem.code, problem.pointer) for problem in result.problems] == [
        ("timestamp_malformed", "/at/time"),
        ("customer_unknown", ""),
        ("number_malformed", "/amount"),
        ("expression_never_ends", ""),
    ]
    with pytest.raises(InvalidInput):
        result.event()


def test_problems_of_an_event_are_told_of_the_senders_fields() -> None:
    form = format_of(quantity={"path": "usage.`Menge/kWh`"})
    problem = InvalidInput("number_malformed", "must be a decimal number", "/quantity")
    customer = InvalidInput("required", "is missing", "/customer_ref")
    whole = InvalidInput("event_too_large", "is large")
    blamed = form.blame([*problem.problems, *customer.problems, *whole.problems])
    assert [p.pointer for p in blamed] == ["/usage/Menge~1kWh", "/who", ""]
    assert [p.detail for p in blamed] == [
        "quantity: must be a decimal number",
        "customer_ref: is missing",
        "is large",
    ]


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        ("[]", "type_object"),
        ("{", "json_malformed"),
        ('{"a": 1, "a": 2}', "json_duplicate_key"),
        ('{"a": "x", "b": 1, "a": "y"}', "json_duplicate_key"),
        (r'{"a\"b": "\"", "a\u0022b": 2}', "json_duplicate_key"),
        ('{"a": {"b": 1, "b": 2}}', "json_duplicate_key"),
        ('{"a": [{"b": 1, "b": 2}]}', "json_duplicate_key"),
        ('{"a": ' * 2_000, "json_too_deep"),
        ('{"a": "' + "x" * 65_536 + '"}', "event_too_large"),
    ],
)
def test_an_event_that_is_no_object_is_refused(sent: str, code: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_source(sent.encode())
    assert caught.value.code == code


def changed(sent: Mapping[str, Any], **rules: object) -> dict[str, Any]:
    source = read_source(json.dumps(sent).encode())
    change = format_of(**rules).change(source, LOOK_UPS)
    event = json.loads(change.event())
    assert isinstance(event, dict)
    return event


def test_a_change_is_made_by_the_rules_that_read_what_is_there() -> None:
    data = {"keys": {"region": {"path": "region"}, "kind": {"constant": "x"}}, "rest": True}
    rules: dict[str, Any] = {
        "idempotency_key": {"expression": "concat(id, when)"},
        "quantity": {"expression": "number(amount) * coalesce(times, 1)"},
        "additional_report_data": data,
    }
    assert changed({}, **rules) == {}
    assert changed({"amount": None}, **rules) == {}
    assert changed({"amount": "2"}, **rules) == {"quantity": 2}
    assert changed({"when": "w", "id": 7}, **rules) == {"timestamp": "w"}
    assert changed({"region": "eu"}, **rules) == {
        "additional_report_data": {"region": "eu", "kind": "x"}
    }
    assert changed({"colour": "red"}, **rules)["additional_report_data"] == {
        "kind": "x",
        "colour": "red",
    }
    with pytest.raises(InvalidInput, match="quantity"):
        changed({"times": 2}, **rules)


def test_the_default_rules_take_every_field_as_it_is() -> None:
    event = {name: f"a {name}" for name in TARGETS}
    assert (
        json.loads(default_format().make(read_source(json.dumps(event).encode()), {}).event())
        == event
    )


# ---------------------------------------------------------------- definitions


@pytest.mark.parametrize(
    ("rules", "problems"),
    [
        ({"quantity": {}}, {"/quantity": "rule_malformed"}),
        ({"quantity": {"path": "a", "constant": 1}}, {"/quantity": "rule_malformed"}),
        ({"quantity": {"path": "a", "date_format": "yyyy"}},
         {"/quantity/date_format": "unknown_field"}),
        ({"quantity": {"path": "a", "factor": 0}}, {"/quantity/factor": "number_malformed"}),
        ({"quantity": {"path": "a", "factor": "x"}}, {"/quantity/factor": "number_malformed"}),
        ({"quantity": {"path": "Menge (kWh)"}}, {"/quantity/path": "path_malformed"}),
        ({"quantity": {"path": 7}}, {"/quantity/path": "type_string"}),
        ({"quantity": "amount"}, {"/quantity": "type_object"}),
        ({"quantity": {"expression": "amount +"}},
         {"/quantity/expression": "expression_malformed"}),
        ({"quantity": {"expression": "entity_by('name', 'x')"}},
         {"/quantity/expression": "expression_function_unknown"}),
        ({"timestamp": {"path": "t", "timezone": "Berlin"}},
         {"/timestamp/timezone": "timezone_unknown"}),
        ({"timestamp": {"path": "t", "date_format": "dd.MM.yyyy"}},
         {"/timestamp/timezone": "required"}),
        ({"timestamp": {"path": "t", "date_format": "DD.MM.YYYY"}},
         {"/timestamp/date_format": "date_format_malformed"}),
        ({"timestamp": None, "customer_ref": None},
         {"/timestamp": "required", "/customer_ref": "required"}),
        ({"customer_reff": {"path": "a"}}, {"/customer_reff": "unknown_field"}),
        ({"additional_report_data": {"path": "a", "rest": True}},
         {"/additional_report_data": "rule_malformed"}),
        ({"additional_report_data": {"rest": 1}},
         {"/additional_report_data/rest": "flag_malformed"}),
        ({"additional_report_data": {"keys": {"a": {}}}},
         {"/additional_report_data/keys/a": "rule_malformed"}),
        ({"additional_report_data": {"keys": {"a\0": {"path": "a"}}}},
         {"/additional_report_data/keys/a\0": "key_not_printable"}),
        ({"additional_report_data": {"keys": {f"k{n}": {"path": "a"} for n in range(101)}}},
         {"/additional_report_data/keys": "format_too_large"}),
    ],
)  # fmt: skip
def test_a_definition_says_what_is_wrong_with_it_and_where(
    rules: dict[str, object], problems: dict[str, str]
) -> None:
    assert refused(PLAIN | rules) == problems


def test_a_definition_is_an_object_of_a_bounded_size() -> None:
    assert refused("[]")[""] == "type_object"
    assert refused('{"quantity": {}, "quantity": {}}')[""] == "json_duplicate_key"
    large = PLAIN | {"customer_name": {"constant": "x" * DEFINITION_BYTES_MAX}}
    assert refused(large) == {"": "format_too_large"}
    keys = {f"k{n}": {"path": "a"} for n in range(DATA_KEYS_MAX)}
    assert len(format_of(additional_report_data={"keys": keys}).data) == DATA_KEYS_MAX


def test_names_do_instead_of_refs() -> None:
    rules = {"customer_ref": None, "customer_name": {"path": "who"}}
    assert made(SENT, **rules)["customer_name"] == CUSTOMER


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.decimals().map(str),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [*TARGETS, "path", "constant", "expression", "keys", "rest", "factor", "timezone"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(json_values)
def test_any_definition_is_read_or_refused(definition: object) -> None:
    try:
        form = parse_definition(json.dumps(definition).encode())
    except InvalidInput:
        return
    assert isinstance(form, Format)


@given(
    st.binary(max_size=40)
    | st.text(alphabet='{}[]":,\\ud80e1-.nulltrue \0', max_size=40).map(str.encode)
    | st.tuples(json_values, st.integers(0, 200), st.binary(max_size=2)).map(
        lambda p: (t := json.dumps({"when": p[0], "x": p[0]}).encode())[: p[1]] + p[2] + t[p[1] :]
    )
)
def test_any_bytes_are_an_event_or_refused(raw: bytes) -> None:
    form = format_of(
        timestamp={"path": "when", "date_format": "yyyy-MM-dd", "timezone": "UTC"},
        customer_name={"expression": "upper(x.path)"},
        additional_report_data={"keys": {"a": {"path": "x", "factor": 2}}, "rest": True},
    )
    try:
        event = form.make(read_source(raw), LOOK_UPS).event()
    except InvalidInput:
        return
    assert isinstance(json.loads(event), dict)


@given(st.dictionaries(st.sampled_from(["when", "who", "amount", "x"]), json_values))
def test_any_event_is_made_or_refused(sent: dict[str, object]) -> None:
    form = format_of(
        timestamp={"path": "when", "date_format": "EPOCH_SECONDS"},
        quantity={"path": "amount", "factor": "1.5"},
        idempotency_key={"expression": "concat(who, '/', x.path)"},
        additional_report_data={"rest": True},
    )
    result = make(form, sent)
    if not result.problems:
        assert isinstance(json.loads(result.event()), dict)
