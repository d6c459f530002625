"""Which column of a file is which field of an event, as the upload's options say."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from gateway.formats.mapping import FormatName
from gateway.ingest.csv_form import (
    OBJECTS,
    Column,
    event_of_row,
    read_header,
    read_own_header,
)
from gateway.ingest.parsing import EVENT_FIELDS
from gateway.manage import values
from gateway.manage.body import Fields
from gateway.uploads.rejected import MARKS, without_guard
from schemas.errors import InvalidInput, Problem
from schemas.formats import Format
from schemas.usage_event import pointer_to, unknown_field

COLUMNS_MAX: Final = 1_000
"""Columns of a file."""

DATA: Final = "additional_report_data"
_DELIMITERS: Final = {"comma": ",", "semicolon": ";", "tab": "\t", "bar": "|"}
_NEEDED: Final = (
    ("timestamp",),
    ("customer_ref", "customer_name"),
    ("usage_product_ref", "usage_product_name"),
    ("quantity",),
)
_MAP_REMEDY: Final = "say which column holds which field with ?map=COLUMN:FIELD"
_REMEDY: Final = f"{_MAP_REMEDY}, or what becomes of others with ?other_columns=data or =ignore"

_decode_map: Final = msgspec.json.Decoder(dict[str, str]).decode


class Options(msgspec.Struct, frozen=True):
    """How a file is to be read.

    fields: by column, the field that it holds; an empty one leaves the column out.
    other_columns: what becomes of a column that is none: `refuse`, `data`, `ignore`.
    delimiter: between cells, None to see it. form: the tenant's format that the rows are in.
    """

    fields: Mapping[str, str]
    other_columns: str
    delimiter: str | None
    form: FormatName | None = None

    @property
    def fingerprint(self) -> str:
        """The same text for the same way of reading."""
        return msgspec.json.encode(self, order="deterministic").decode()


def read_options(fields: Fields) -> Options:
    """Read how a file is to be read from the query."""
    word = fields.optional(values.choice("comma", "semicolon", "tab", "bar"), "delimiter")
    other_columns = values.choice("refuse", "data", "ignore")
    options = Options(
        fields=fields.optional(read_map, "map") or {},
        other_columns=fields.optional(other_columns, "other_columns") or "refuse",
        delimiter=None if word is None else _DELIMITERS[word],
        form=_read_form(fields),
    )
    if options.form is not None:
        for name in ("map", "other_columns"):
            if fields.has(name):
                fields.add("parameter_malformed", "is what the format says: leave it out", name)
    return options


def _read_form(fields: Fields) -> FormatName | None:
    name = fields.optional(values.name, "format_name")
    ref = fields.optional(values.ref, "format_ref")
    return FormatName(name, None if ref is None else str(ref)) if name or ref else None


def read_map(value: object) -> dict[str, str]:
    """Read `column:field` pairs, comma separated, or a JSON object. Raises InvalidInput."""
    text = str(value)
    if text.lstrip().startswith("{"):
        try:
            return _decode_map(text)
        except ValueError:
            detail = "must be pairs column:field, or a JSON object of texts"
            raise InvalidInput("parameter_malformed", detail) from None
    found: dict[str, str] = {}
    for pair in text.split(","):
        column, sign, field = (part.strip() for part in pair.rpartition(":"))
        if not sign or not column or column in found:
            detail = f"must be pairs column:field, each column once; {pair[:64]!r} is none"
            raise InvalidInput("parameter_malformed", detail)
        found[column] = field
    return found


class Layout(msgspec.Struct, frozen=True):
    """The columns of one file.

    header: their names, without those of a report of rejected rows. width: how many there are.
    kept: which of them are part of an event, and columns: as what.
    is_returned: it is a report of rejected rows that was given out here.
    rules: of the format that knows what the columns are, None where they are the API's fields.
    """

    header: Sequence[str]
    width: int
    kept: Sequence[int]
    columns: Sequence[Column]
    is_returned: bool
    rules: Format | None

    def event_of(self, cells: Sequence[str]) -> bytes | InvalidInput:
        """Return a row as an event in JSON, or what is wrong with it."""
        if len(cells) != self.width:
            detail = f"has {len(cells)} cells where the header has {self.width}"
            return InvalidInput("row_malformed", detail)
        own = self.own(cells)
        kept = [own[index] for index in self.kept]
        return event_of_row(self.columns, kept, has_own_fields=self.rules is not None)

    def own(self, cells: Sequence[str]) -> Sequence[str]:
        """Return a row as it was before a report of rejected rows added to it."""
        if not self.is_returned:
            return cells
        return [without_guard(cell) for cell in cells[: len(self.header)]]


def read_layout(names: Sequence[str], options: Options, rules: Format | None) -> Layout:
    """Read the header. Raises InvalidInput that lists everything that is wrong with it."""
    header = [name.strip().replace("\0", "\ufffd") for name in names]
    width = len(header)
    if width > COLUMNS_MAX:
        detail = f"has {width} columns; at most {COLUMNS_MAX} are taken"
        raise InvalidInput("too_many_columns", detail)
    is_returned = tuple(header[-len(MARKS) :]) == MARKS
    if is_returned:
        header = [without_guard(name) for name in header[: -len(MARKS)]]
    if rules is None:
        kept, columns = _api_columns(header, options)
    else:
        kept, columns = range(len(header)), read_own_header(header)
    return Layout(header, width, list(kept), columns, is_returned, rules)


def _api_columns(header: Sequence[str], options: Options) -> tuple[Iterable[int], list[Column]]:
    """Read which columns hold the API's fields. Raises InvalidInput."""
    targets = {
        index: target for index, name in enumerate(header) if (target := _target(name, options))
    }
    columns: list[Column] = []
    problems = _unknown_columns(options, header)
    try:
        columns = read_header(list(targets.values()))
    except InvalidInput as error:
        problems += [_with_remedy(problem) for problem in error.problems]
    problems += _missing(set(targets.values()))
    if problems:
        raise InvalidInput.of(problems)
    return targets, columns


def _unknown_columns(options: Options, header: Sequence[str]) -> list[Problem]:
    return [
        Problem("column_unknown", f"the column {name!r} {unknown_field(name, header)}", "/map")
        for name in options.fields
        if name not in header
    ]


def _target(name: str, options: Options) -> str:
    """Return the field that a column holds; empty when it is left out."""
    if name in options.fields:
        return options.fields[name]
    if name in EVENT_FIELDS or name.partition(".")[0] in OBJECTS:
        return name
    if name.lower() in EVENT_FIELDS:
        return name.lower()
    if options.other_columns == "refuse":
        return name or " "
    return f"{DATA}.{name}" if options.other_columns == "data" and name else ""


def _with_remedy(problem: Problem) -> Problem:
    if problem.code != "unknown_field":
        return problem
    return msgspec.structs.replace(problem, detail=f"{problem.detail}; {_REMEDY}")


def _missing(targets: set[str]) -> list[Problem]:
    return [
        Problem(
            "required", f"no column holds it: {_REMEDY.partition(',')[0]}", pointer_to(names[0])
        )
        for names in _NEEDED
        if not targets & set(names)
    ]
