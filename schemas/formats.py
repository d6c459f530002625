"""Formats: how a tenant's own fields become those of a usage event, rule by rule. Pure.

A rule takes a value from a path, a constant or an expression, and may convert it: a time by a date
format, a quantity by a factor. What a rule takes from a path unconverted keeps its digits.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Final

import msgspec
from msgspec import Raw

from schemas.errors import InvalidInput, Problem
from schemas.expression import Expression, LookUp, Path, Run, Value, decimal_text, parse_number
from schemas.formats_dates import DateFormat
from schemas.formats_source import Source, pointer_of, value_of

TARGETS: Final = (
    "timestamp",
    "customer_ref",
    "customer_name",
    "usage_product_ref",
    "usage_product_name",
    "quantity",
    "additional_report_data",
    "validations",
    "idempotency_key",
)
"""The fields of an event that a format may give."""

DATA: Final = "additional_report_data"
LOOK_UPS: Final = ("customer_by", "meter_by")
"""What expressions of formats may look up: the ref of a customer or a meter by a key of theirs."""

_TEXTS: Final = frozenset(TARGETS) - {"quantity", DATA, "validations"}
"""Fields that are texts: a number there is written as one."""

_NEVER_CHANGED: Final = frozenset({"idempotency_key", "validations"})

_encode: Final = msgspec.json.encode


class Rule(msgspec.Struct, frozen=True):
    """Where one field comes from: exactly one of path, constant and expression.

    date, factor: what is done with the value.
    """

    path: Path | None = None
    constant: Raw | None = None
    expression: Expression | None = None
    date: DateFormat | None = None
    factor: Fraction | None = None

    @property
    def pointer(self) -> str:
        """Return the JSON Pointer of what it is taken from; empty when that is no single field."""
        return "" if self.path is None else pointer_of(self.path)

    def reads(self, source: Source) -> bool:
        """Tell whether it takes something that an event has."""
        paths = [self.path] if self.path is not None else []
        if self.expression is not None:
            paths += self.expression.paths
        return any(source.raw(path) is not None for path in paths)

    def produce(self, source: Source, run: Run) -> Raw | None:
        """Return the field's JSON; None when there is none. Raises InvalidInput."""
        if self.expression is not None:
            return _raw(self._convert(self.expression.evaluate(run)))
        raw = self.constant if self.path is None else source.raw(self.path)
        if raw is None or (self.date is None and self.factor is None):
            return raw
        return _raw(self._convert(value_of(raw, self.path)))

    def _convert(self, value: Value) -> Value:
        if value is None:
            return None
        if self.date is not None:
            return self.date.read(value)
        if self.factor is not None:
            return self.factor * _quantity(value)
        return value


def _quantity(value: Value) -> Fraction:
    """Return what a factor is applied to; texts hold numbers here as they do in an event."""
    number = parse_number(value) if isinstance(value, str) else value
    if not isinstance(number, Fraction):
        raise InvalidInput("number_malformed", "must be a decimal number, such as -12.5 or 3e2")
    return number


def _raw(value: Value) -> Raw | None:
    """Write a value as JSON, a number in full. Raises InvalidInput when it never ends."""
    if value is None:
        return None
    if not isinstance(value, Fraction):
        return Raw(_encode(value))
    digits = decimal_text(value)
    if digits is None:
        detail = "the number has digits without end: round(…, …) it"
        raise InvalidInput("expression_never_ends", detail)
    return Raw(digits.encode())


class Made(msgspec.Struct):
    """What became of an event: the fields that there are, and what was wrong with others.

    Pointers are into the event as it was sent.
    """

    fields: dict[str, Raw]
    problems: list[Problem]

    def event(self) -> bytes:
        """Return the event as JSON. Raises InvalidInput when a rule failed."""
        if self.problems:
            raise InvalidInput.of(self.problems)
        return _encode(self.fields)


class Format(msgspec.Struct, frozen=True):
    """The rules of a format, by the field that each gives.

    data: rules of single keys of `additional_report_data`, where no rule gives it whole.
    has_rest: whether what no rule takes from the event goes into `additional_report_data`, too.
    """

    rules: Mapping[str, Rule]
    data: Mapping[str, Rule]
    has_rest: bool
    _taken: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        """Note the outermost fields of an event that some rule takes something from."""
        rules = (*self.rules.values(), *self.data.values())
        paths = [rule.path for rule in rules if rule.path is not None]
        paths += [path for rule in rules if rule.expression for path in rule.expression.paths]
        taken = frozenset(str(path[0]) for path in paths)
        msgspec.structs.force_setattr(self, "_taken", taken)

    def make(self, source: Source, look_ups: Mapping[str, LookUp]) -> Made:
        """Turn an event in the tenant's fields into a usage event's."""
        run = Run(source.value, look_ups)
        made = Made({}, [])
        self._apply(self.rules, source, run, made)
        self._add_data(source, run, made)
        return made

    def change(self, source: Source, look_ups: Mapping[str, LookUp]) -> Made:
        """Return what an event's new fields change of one that was sent before.

        Rules that read none of them say nothing; what an event never changes is left out, but for
        whose it is and what it measures.
        """
        run = Run(source.value, look_ups)
        made = Made({}, [])
        rules = {
            name: rule
            for name, rule in self.rules.items()
            if name not in _NEVER_CHANGED and rule.reads(source)
        }
        self._apply(rules, source, run, made)
        if any(rule.reads(source) for rule in self.data.values()) or self._rest(source):
            self._add_data(source, run, made)
        return made

    def _apply(self, rules: Mapping[str, Rule], source: Source, run: Run, made: Made) -> None:
        for name, rule in rules.items():
            raw = _produce(rule, source, run, name, made.problems)
            if raw is not None:
                made.fields[name] = _as_text(raw) if name in _TEXTS else raw

    def _add_data(self, source: Source, run: Run, made: Made) -> None:
        """Add the additional data that is made of single keys, and the rest."""
        data = {
            key: raw
            for key, rule in self.data.items()
            if (raw := _produce(rule, source, run, f"{DATA}.{key}", made.problems)) is not None
        }
        data |= {key: raw for key, raw in self._rest(source).items() if key not in data}
        if data:
            made.fields[DATA] = Raw(_encode(data))

    def _rest(self, source: Source) -> Mapping[str, Raw]:
        """Return what no rule takes, if the additional data has it."""
        if not self.has_rest:
            return {}
        return {
            key: raw
            for key in source.fields
            if key not in self._taken and (raw := source.raw((key,))) is not None
        }

    def blame(self, problems: Sequence[Problem]) -> list[Problem]:
        """Say of problems with a usage event's fields which of the sender's fields they are in."""
        return [self._blame(problem) for problem in problems]

    def _blame(self, problem: Problem) -> Problem:
        name = problem.pointer.split("/")[1] if problem.pointer else ""
        rule = self.rules.get(name)
        if not name:
            return problem
        pointer = "" if rule is None else rule.pointer
        return Problem(problem.code, f"{name}: {problem.detail}", pointer)


def _produce(
    rule: Rule, source: Source, run: Run, name: str, problems: list[Problem]
) -> Raw | None:
    """Apply one rule; what is wrong is noted, and the others go on."""
    try:
        return rule.produce(source, run)
    except InvalidInput as error:
        problems.append(Problem(error.code, f"{name}: {error.detail}", rule.pointer))
        return None


def _as_text(raw: Raw) -> Raw:
    text = bytes(raw)
    return Raw(b'"%b"' % text) if text[:1] in b"-0123456789" else raw
