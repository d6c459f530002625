"""Writes the JSON Schema of every topic into `schemas/json/`: `python -m deploy.published`.

The schemas are made from the types that read and write the records, so they can't be out of date;
a test compares the files.
"""

from collections.abc import Mapping, Sequence
from inspect import cleandoc
from pathlib import Path
from typing import Any, Final

import msgspec

from invoicer.inputs import EventsMessage, PeriodMessage
from rater.dead_letters import DeadMessage
from schemas.alerts import AlertMessage
from schemas.published import DIALECT, usage_events_schema
from schemas.topics import BILLING_ALERTS, BILLING_PERIODS, DEAD_EVENTS, USAGE_EVENTS

FOLDER: Final = Path(__file__).parents[1] / "schemas" / "json"


def published() -> Mapping[str, bytes]:
    """Return the files by name."""
    schemas = {
        USAGE_EVENTS: usage_events_schema(),
        DEAD_EVENTS: _schema(DEAD_EVENTS, DeadMessage),
        BILLING_PERIODS: _kinds(
            BILLING_PERIODS,
            "One record of `billing.periods.v1`: something is ready to be invoiced; keys alone.",
            (PeriodMessage, EventsMessage),
        ),
        BILLING_ALERTS: _schema(BILLING_ALERTS, AlertMessage),
    }
    return {
        f"{topic}.schema.json": msgspec.json.format(msgspec.json.encode(schema), indent=2) + b"\n"
        for topic, schema in schemas.items()
    }


def _schema(topic: str, record: type) -> dict[str, Any]:
    (_,), components = msgspec.json.schema_components([record])
    schema = {"$schema": DIALECT, **components[record.__name__], "title": topic}
    return schema | {"description": cleandoc(record.__doc__ or "")}


def _kinds(topic: str, description: str, records: Sequence[type]) -> dict[str, Any]:
    """Describe a topic with records of several kinds."""
    kinds = [_schema(record.__name__, record) for record in records]
    for kind in kinds:
        del kind["$schema"]
    return {"$schema": DIALECT, "title": topic, "description": description, "oneOf": kinds}


def main() -> None:
    """Write the files."""
    FOLDER.mkdir(exist_ok=True)
    for name, content in published().items():
        (FOLDER / name).write_bytes(content)


if __name__ == "__main__":
    main()
