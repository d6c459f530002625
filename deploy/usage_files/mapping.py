"""From a row to an event: which column is which field, names to refs, a key that never moves."""

import difflib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from deploy.usage_files.errors import GaveUp
from deploy.usage_files.source import CsvRow, JsonRow, Row
from meterline_client import EncodedEvent, EventError, Names, Rejected, encode_event

FIELDS: Final = (
    "timestamp",
    "customer_ref",
    "customer_name",
    "usage_product_ref",
    "usage_product_name",
    "quantity",
    "idempotency_key",
    "additional_report_data",
    "validations",
)
#: Shorter names for people. `customer` and `meter` hold a ref or a name.
CUSTOMER, METER, KEY, DATA = "customer", "meter", "idempotency_key", "data."
_ALIASES: Final = {"key": KEY, "customer": CUSTOMER, "meter": METER}
_TARGETS: Final = frozenset({*FIELDS, CUSTOMER, METER})
_OBJECTS: Final = ("additional_report_data", "validations")
_SUBJECTS: Final = (
    (CUSTOMER, "customer_ref", "customer_name"),
    (METER, "usage_product_ref", "usage_product_name"),
)
_is_ref: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}").fullmatch
_decode_object: Final = msgspec.json.Decoder(dict[str, Raw]).decode


class Columns(Struct, frozen=True):
    """Which column is which field.

    fields: columns by field. data: columns by their name in `additional_report_data`.
    """

    fields: Mapping[str, str]
    data: Mapping[str, str]


def read_map(texts: Iterable[str], columns: Sequence[str] = (), *, extra: bool = False) -> Columns:
    """Read `field=column` pairs, comma separated; `data.NAME=column` goes into additional data.

    columns: of the CSV; those named like a field are that field, unless it is mapped. extra:
    columns that are nothing else are additional data under their own name. Raises GaveUp.
    """
    fields: dict[str, str] = {}
    data: dict[str, str] = {}
    for name, column in _pairs(texts, columns):
        if name.startswith(DATA):
            data[name.removeprefix(DATA)] = column
        else:
            fields[_field(name)] = column
    for column in columns:
        named = _ALIASES.get(column.lower(), column.lower())
        if named in _TARGETS:
            fields.setdefault(named, column)
    if extra:
        used = {*fields.values(), *data.values(), ""}
        data |= {column: column for column in columns if column not in used}
    return Columns(fields, data)


def _pairs(texts: Iterable[str], columns: Sequence[str]) -> Iterator[tuple[str, str]]:
    for pair in filter(str.strip, ",".join(texts).split(",")):
        name, sign, column = (part.strip() for part in pair.partition("="))
        if not sign or not column:
            raise GaveUp(f"--map: {pair!r} is not field=column")
        if columns and column not in columns:
            raise GaveUp(f"--map: there is no column {column!r}{_nearest(column, columns)}")
        if not columns and name.startswith(DATA):
            raise GaveUp("--map: data.NAME is for CSV; a JSON event has additional_report_data")
        yield name, column


def _field(name: str) -> str:
    found = _ALIASES.get(name, name)
    if found not in _TARGETS:
        known = [*FIELDS, *_ALIASES, "data.NAME"]
        raise GaveUp(f"--map: there is no field {name!r}{_nearest(name, known)}")
    return found


def _nearest(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(known)}"


class EventMaker:
    """Makes events of rows, each time the same one of the same row."""

    def __init__(
        self,
        columns: Columns,
        header: Sequence[str],
        *,
        names: Callable[[], Names],
        key_prefix: Callable[[], str],
    ) -> None:
        """header: the CSV's columns. names, key_prefix: asked for when a row needs them.

        A row without a key gets the prefix, "/" and its number.
        """
        self._renames = dict(columns.fields)
        self._width = len(header)
        places = {column: index for index, column in enumerate(header)}
        self._fields = [(name, places[c]) for name, c in columns.fields.items() if c in places]
        self._data = [(name, places[c]) for name, c in columns.data.items() if c in places]
        self._names = names
        self._key_prefix = key_prefix

    def make(self, row: Row) -> EncodedEvent | Rejected:
        """Return the row's event, or why it is none; the rest is the server's to judge."""
        try:
            return self._of_cells(row) if isinstance(row, CsvRow) else self._of_json(row)
        except _BadRow as error:
            return Rejected("", (error.error,))
        except UnicodeEncodeError:
            return Rejected("", (EventError("encoding", "the row is not UTF-8"),))

    # ------------------------------------------------------------------ CSV

    def _of_cells(self, row: CsvRow) -> EncodedEvent:
        cells = row.cells
        if len(cells) != self._width:
            detail = f"the row has {len(cells)} cells, the header {self._width}"
            raise _BadRow("columns", detail)
        event: dict[str, Any] = {name: cells[at] for name, at in self._fields if cells[at] != ""}
        for name in _OBJECTS:
            if name in event:
                event[name] = _object(name, event[name])
        if self._data:
            data = {name: cells[at] for name, at in self._data}
            event["additional_report_data"] = event.get("additional_report_data", {}) | data
        event |= self._subjects(event)
        for name, _, name_field in _SUBJECTS:
            event.pop(name, None)
            event.pop(name_field, None)
        event.setdefault(KEY, self._key(row))
        return encode_event(event)

    def _subjects(self, fields: Mapping[str, str]) -> dict[str, str]:
        """Return the refs that an event has by name alone."""
        found = {}
        for either, ref_field, name_field in _SUBJECTS:
            if fields.get(ref_field):
                continue
            value = fields.get(either) or fields.get(name_field)
            if value:
                is_ref = either in fields and _is_ref(value.strip())
                found[ref_field] = value.strip() if is_ref else self._ref(either, value)
        return found

    def _ref(self, kind: str, name: str) -> str:
        names = self._names()
        try:
            return names.customer_ref(name) if kind == CUSTOMER else names.meter_ref(name)
        except KeyError as error:
            code = "customer_unknown" if kind == CUSTOMER else "usage_product_unknown"
            raise _BadRow(code, str(error.args[0]), f"/{kind}") from None

    def _key(self, row: Row) -> str:
        return f"{self._key_prefix()}/{row.number}"

    # ------------------------------------------------------------------ JSON

    def _of_json(self, row: JsonRow) -> EncodedEvent:
        """Keep the row's own text as far as it goes: numbers stay as they are written."""
        try:
            row.body.decode()
            fields = _decode_object(row.body)
        except (ValueError, RecursionError) as error:
            raise _BadRow("json_malformed", f"is no JSON object: {error}") from None
        body = row.body
        if self._renames:
            body, fields = self._renamed(row.body, fields)
        texts = {name: _text(fields[name]) for name in _NAMED if name in fields}
        added = self._subjects(texts)
        key = texts.get(KEY)
        if not key:
            added[KEY] = key = self._key(row)
        if not added:
            return EncodedEvent(key, body)
        if added.keys() & fields.keys() or fields.keys() & {CUSTOMER, METER}:
            _refuse_twice(body)
            kept = {name: raw for name, raw in fields.items() if name not in (CUSTOMER, METER)}
            return EncodedEvent(key, msgspec.json.encode({**kept, **added}))
        comma = b"," if fields else b""
        return EncodedEvent(key, body[:-1].rstrip() + comma + msgspec.json.encode(added)[1:])

    def _renamed(self, body: bytes, fields: dict[str, Raw]) -> tuple[bytes, dict[str, Raw]]:
        """Give mapped members the names of their fields; the others stay."""
        _refuse_twice(body)
        renames = {column: name for name, column in self._renames.items()}
        renamed = {renames.get(name, name): raw for name, raw in fields.items()}
        return msgspec.json.encode(renamed), renamed


_NAMED: Final = (
    KEY,
    CUSTOMER,
    METER,
    "customer_ref",
    "customer_name",
    "usage_product_ref",
    "usage_product_name",
)


class _BadRow(Exception):
    def __init__(self, code: str, detail: str, pointer: str = "") -> None:
        super().__init__(detail)
        self.error = EventError(code, detail, pointer)


def _text(raw: Raw) -> str:
    """Return a member's text: empty for null, and as written for what the server will refuse."""
    value = msgspec.json.decode(raw)
    if value is None:
        return ""
    return value if isinstance(value, str) else bytes(raw).decode()


def _object(name: str, text: str) -> dict[str, Raw]:
    try:
        return _decode_object(text)
    except (ValueError, RecursionError):
        raise _BadRow("json_malformed", "must be a JSON object", f"/{name}") from None


def _refuse_twice(body: bytes) -> None:
    """Refuse a member that comes twice: writing it anew would drop one of them in silence."""

    def check(pairs: list[tuple[str, object]]) -> None:
        if len(dict(pairs)) != len(pairs):
            raise _BadRow("json_duplicate_key", "a member comes twice")

    json.loads(body, object_pairs_hook=check)
