"""Applies a tenant's format to events as they were sent, with the look-ups that memory answers."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import msgspec

from gateway.formats.known import KnownFormat
from gateway.names import Names
from gateway.reference import Reference
from gateway.tenant import Tenant
from schemas.errors import InvalidInput, Problem
from schemas.expression import LookUp
from schemas.formats import Format, Made
from schemas.formats_source import Source, read_source

EVENTS_A_TURN: Final = 25
"""Events that are made before other requests get their turn on the loop."""

MADE_BYTES_MAX: Final = 10 * 1024 * 1024
"""What the events of one request may become: a format's constants make them longer."""


class FormatName(msgspec.Struct, frozen=True):
    """Which format is meant. Where both are given, the ref counts."""

    name: str | None = None
    ref: str | None = None


class Mapper:
    """One format at work for one request."""

    def __init__(self, rules: Format, tenant: Tenant) -> None:
        self._rules = rules
        self._look_ups = LookUps(tenant)

    def _make(self, raw: bytes) -> Made:
        return self._rules.make(read_source(raw), self._look_ups.by_name)

    async def make(self, raw: bytes, reference: Reference) -> Made:
        """Make an event, field by field; what memory does not find Postgres is asked for once.

        Raises InvalidInput when it is no object, TransientError.
        """
        return await self._fresh(lambda: self._make(raw), reference)

    async def change(self, source: Source, reference: Reference) -> Made:
        """Return what an event's new fields change of one that was sent, as `make` does."""
        look_ups = self._look_ups.by_name
        return await self._fresh(lambda: self._rules.change(source, look_ups), reference)

    async def _fresh(self, make: Callable[[], Made], reference: Reference) -> Made:
        made = make()
        if made.problems and self._look_ups.has_missed:
            await reference.catch_up()
            made = make()
        return made

    def blame(self, problems: Sequence[Problem]) -> Sequence[Problem]:
        """Say of problems with a usage event where in the event that was sent they are."""
        return self._rules.blame(problems)

    async def make_all(
        self, elements: Iterable[bytes | InvalidInput], reference: Reference
    ) -> list[bytes | InvalidInput]:
        """Make the events of a request, each by itself; Postgres is asked at most once.

        Raises InvalidInput when they get too large together.
        """
        made: list[bytes | InvalidInput] = []
        is_fresh = False
        left = MADE_BYTES_MAX
        for index, element in enumerate(elements):
            one = element if isinstance(element, InvalidInput) else self._made(element)
            if self._look_ups.has_missed and not is_fresh and isinstance(element, bytes):
                await reference.catch_up()
                is_fresh = True
                one = self._made(element)
            made.append(one)
            left -= len(one) if isinstance(one, bytes) else 0
            if left < 0:
                detail = f"the events get larger than {MADE_BYTES_MAX} bytes: send fewer at once"
                raise InvalidInput("body_too_large", detail)
            if index % EVENTS_A_TURN == EVENTS_A_TURN - 1:
                await asyncio.sleep(0)
        return made

    def _made(self, raw: bytes) -> bytes | InvalidInput:
        try:
            return self._make(raw).event()
        except InvalidInput as error:
            return error


def within(pointer: str, problems: Sequence[Problem]) -> list[Problem]:
    """Say of problems with an event where in a request they are. pointer: of the event."""
    return [Problem(p.code, p.detail, pointer + p.pointer) for p in problems]


def told(mapper: Mapper | None, problems: Sequence[Problem]) -> Sequence[Problem]:
    """Say of problems with a usage event where in the event that was sent they are."""
    return problems if mapper is None else mapper.blame(problems)


class LookUps:
    """The look-ups of formats, in memory. has_missed: one found nothing, which may be old news."""

    def __init__(self, tenant: Tenant) -> None:
        self.has_missed = False
        self._customer_keys = {
            "name": tenant.customer_names,
            "external_id": tenant.customer_external_ids,
        }
        self._meter_keys = {"name": tenant.meter_names}
        self.by_name: Mapping[str, LookUp] = {
            "customer_by": self._customer_by,
            "meter_by": self._meter_by,
        }

    def _customer_by(self, key: str, value: str) -> str:
        return self._find("customer", self._customer_keys, key, value)

    def _meter_by(self, key: str, value: str) -> str:
        return self._find("usage_product", self._meter_keys, key, value)

    def _find(self, kind: str, keys: Mapping[str, Names], key: str, value: str) -> str:
        names = keys.get(key)
        words = kind.replace("_", " ")
        if names is None:
            detail = f"a {words} is looked up by {' or '.join(keys)}, not by {key[:64]!r}"
            raise InvalidInput("look_up_key_unknown", detail)
        found = names.find(value)
        if len(found) == 1:
            return found[0]
        self.has_missed = True
        if found:
            detail = f"several {words}s have the {key} {value[:64]!r}"
            raise InvalidInput(f"{kind}_ambiguous", detail)
        raise InvalidInput(f"{kind}_unknown", f"no {words} has the {key} {value[:64]!r}")


async def find_mapper(
    reference: Reference, tenant: Tenant, wanted: FormatName | None
) -> Mapper | None:
    """Find a format and put it to work; None where events have the API's own fields.

    Raises InvalidInput, TransientError.
    """
    rules = None if wanted is None else (await find_format(reference, tenant, wanted)).rules
    return None if rules is None else Mapper(rules, tenant)


async def find_format(reference: Reference, tenant: Tenant, wanted: FormatName) -> KnownFormat:
    """Find a format; Postgres is asked once for one that memory lacks.

    Raises InvalidInput, TransientError.
    """
    known = _find(tenant, wanted)
    if known is None:
        await reference.catch_up()
        known = _find(tenant, wanted)
    if known is None:
        field, sought = ("format_ref", wanted.ref) if wanted.ref else ("format_name", wanted.name)
        detail = f"there is no format {str(sought)[:64]!r}: GET /api/usage/formats lists them"
        raise InvalidInput("format_unknown", detail, f"/{field}")
    return known


def _find(tenant: Tenant, wanted: FormatName) -> KnownFormat | None:
    if wanted.ref:
        return tenant.formats.get(wanted.ref.lower())
    refs = tenant.format_names.find(wanted.name or "")
    return tenant.formats[refs[0]] if len(refs) == 1 else None
