"""Digests: the list of events that each cut line holds, written and hashed again.

The list is spelt out here anew, by rules that are documented beside the product's own; it shares no
line with that.
"""

import json
from hashlib import sha256
from typing import Any, Final

import asyncpg

from deploy.verify.aggregates import counted
from deploy.verify.check import Check, Finding, Scope, plural
from deploy.verify.oracle import exact
from runtime.postgres import Queries

queries = Queries.beside(__file__, "digests.sql")

_HEADER: Final = b"event_ref,timestamp,quantity,additional_report_data\n"


async def check_digests(scope: Scope, finding: Finding) -> None:
    """Hash the list of every cut line again."""
    finding.counted = await scope.count(queries.digests_counted, scope.tenant_id)
    for statement in (queries.digests_missing, queries.late_unmarked):
        async for row in scope.rows(statement, scope.tenant_id):
            finding.broken(row["witness"])
    line: tuple[str, bytes] | None = None
    digest = sha256()
    async for row in scope.rows(queries.listed, scope.tenant_id):
        if (row["name"], row["events_digest"]) != line:
            _compare(finding, line, digest.digest())
            line, digest = (row["name"], row["events_digest"]), sha256(_HEADER)
        if row["event_ref"] is not None:
            digest.update(_row(row))
    _compare(finding, line, digest.digest())
    if waiting := await scope.count(queries.digests_waiting, scope.tenant_id):
        finding.notes.append(f"{plural(waiting, 'cuts')} without digests yet, not looked at")


def _compare(finding: Finding, line: tuple[str, bytes] | None, digest: bytes) -> None:
    if line is not None and line[1] != digest:
        finding.broken(f"{line[0]}: its digest is {line[1].hex()}, its events give {digest.hex()}")


def _row(row: asyncpg.Record) -> bytes:
    data = "" if row["additional_data"] is None else canonical(row["additional_data"])
    if any(mark in data for mark in ',"\r\n'):
        data = '"' + data.replace('"', '""') + '"'
    quantity = exact(counted(row)) if row["is_fed"] else row["quantity"]
    return f"{row['event_ref']},{row['timestamp']},{quantity},{data}\n".encode()


def canonical(text: str) -> str:
    """Write JSON with sorted keys, without spaces, every number as it is in the text."""
    return _write(json.loads(text, parse_int=_Number, parse_float=_Number))


class _Number(str):
    """A number as it is written."""

    __slots__ = ()


def _write(value: Any) -> str:  # noqa: ANN401 - any JSON
    if isinstance(value, _Number):
        return _plain_integer(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{_write(k)}:{_write(value[k])}" for k in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_write, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def _plain_integer(number: str) -> str:
    return "0" if number == "-0" else number


CHECKS: Final = (
    Check(
        name="digests",
        sentence="every cut line's digest is that of its events, and what has moved is cut again",
        unit="digests",
        run=check_digests,
    ),
)
