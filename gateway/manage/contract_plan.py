"""What an edit of a contract comes to: which products it changes, ends and adds, from which day.

A product of the new list takes the place of the one of the old list with the same pricing and first
day; what is left of both lists is matched by what it measures, so that no usage is priced by both.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from gateway.manage import values
from gateway.manage.boundaries import Standing, boundary, chain_of
from gateway.manage.contract_writing import TERMS_COLUMNS, SettledProduct, billing_terms
from gateway.manage.payment_times import ahead_again_since
from schemas.credits import carried_on
from schemas.errors import InvalidInput
from schemas.periods import first_instant
from schemas.renewal import term_end

_ABSENT: Final = (None, "")
_decode: Final = msgspec.json.decode


class Change(Struct, frozen=True):
    """One product that an edit changes, ends or adds.

    settled: None: it ends. position: in the new list. since: from which day on it counts, None from
    its first. former: what it takes the place of, None: nothing. ended: whose days end on
    from_date. is_anew: a running period is rated anew. ahead_since: of one that is, see
    `BillingTerms`.
    """

    settled: SettledProduct | None
    position: int
    since: date | None
    former: Standing | None
    ended: Sequence[Standing]
    from_date: date
    is_anew: bool = False
    ahead_since: date | None = None

    @property
    def carries_on(self) -> UUID | None:
        """The lineage that the product goes on with, None: it begins one of its own."""
        if self.former is None or self.since is None:
            return None
        lineage: UUID = self.former.row["lineage_ref"]
        return lineage

    def carry(self, row: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return a product's terms with credits that go on from those before. row: as planned."""
        if self.former is None or self.since is None:
            return row
        return with_credits(row, _credits_carried(self.former, row, self.since)[0])


class Asked(Struct, frozen=True):
    """A product of the new list, and the one of the old list that it is matched with."""

    settled: SettledProduct
    position: int
    former: Standing | None


class Identity(Struct, frozen=True):
    """What makes a product of an edit's body the same as one that stands."""

    pricing_ref: UUID
    start_date: date
    timezone: str


def merge_products(
    sent: Sequence[object], shown: Sequence[Mapping[str, Any]], standing: Sequence[Identity]
) -> tuple[list[object], list[int | None]]:
    """Fill what the products of an edit leave out from those they are matched with.

    shown: how the answer shows those that stand, in their order. Returns the products, and the
    place of the one that each is matched with.
    """
    left = dict(enumerate(standing))
    merged: list[object] = []
    matched: list[int | None] = []
    for product in sent:
        place = next((p for p, one in left.items() if _is_same(product, one)), None)
        if place is None or not isinstance(product, dict):
            merged.append(product)
            matched.append(None)
            continue
        given = {name: value for name, value in product.items() if value not in _ABSENT}
        merged.append({**shown[place], **given})
        matched.append(place)
        del left[place]
    return merged, matched


def _is_same(product: object, standing: Identity) -> bool:
    """Tell whether a product of a body names the pricing and the first day of one that stands."""
    if not isinstance(product, dict):
        return False
    try:
        pricing_ref = values.ref(product.get("pricing_ref") or product.get("product_pricing_ref"))
        start = values.day_or_instant(product.get("billing_start_date"))
        return bool(
            pricing_ref == standing.pricing_ref
            and values.day_in(start, standing.timezone) == standing.start_date
        )
    except InvalidInput:
        return False


def plan(
    asked: Sequence[Asked],
    products: Sequence[Standing],
    rows: Sequence[tuple[Any, ...]],
    now: datetime,
    *,
    includes_current: bool,
    regroups: bool = False,
) -> list[Change]:
    """Return what changes. rows: the terms of the products asked for, as they are stored.

    products: those of all versions. regroups: they are to share documents otherwise, so each that
    goes on changes. Notes a problem of what can't be.
    """
    standing = [one for one in products if not one.row["is_over"]]
    kept = {one.former.ref for one in asked if one.former is not None}
    gone = [one for one in standing if one.ref not in kept]
    changes: list[Change] = []
    for one, row in zip(asked, rows, strict=True):
        former = one.former
        if former is not None and _is_unchanged(former, row, one.settled):
            terms = [link.terms for link in chain_of(former, products)]
            day = boundary(terms, now, includes_current=includes_current)
            if not regroups or not former.reaches(day):
                continue
        if former is None:
            former = _replaced(one.settled, gone)
            gone = [other for other in gone if other is not former]
        if former is None:
            changes.append(_added(one, now, includes_current=includes_current))
        else:
            chain = chain_of(former, products)
            changes.append(_changed(one, row, chain, now, includes_current=includes_current))
    changes += _ends(gone, products, now, includes_current=includes_current)
    return changes


def _is_unchanged(former: Standing, row: tuple[Any, ...], settled: SettledProduct) -> bool:
    """Tell whether a product is to be what it is."""
    stood = tuple(former.row[name] for name in TERMS_COLUMNS)
    start: date = former.row["billing_start_date"]
    stood = with_credits(stood, carried_on("[]", start, former.row["credits"], start)[0])
    row = with_credits(row, carried_on("[]", start, row[_CREDITS], start)[0])
    lines = [line["pricing_line_id"] for line in former.lines]
    return _plain(stood) == _plain(row) and lines == [
        line["pricing_line_id"] for line in settled.lines
    ]


_CREDITS: Final = TERMS_COLUMNS.index("credits")


def with_credits(row: tuple[Any, ...], text: str) -> tuple[Any, ...]:
    """Return a product's terms with other credits."""
    return (*row[:_CREDITS], text, *row[_CREDITS + 1 :])


def _credits_carried(former: Standing, row: tuple[Any, ...], since: date) -> tuple[str, bool]:
    """Return the credits of what takes a product's place, and whether they go on from its own."""
    own = former.row
    return carried_on(own["credits"], own["billing_start_date"], row[_CREDITS], since)


def _plain(row: tuple[Any, ...]) -> tuple[Any, ...]:
    return (*row[:-4], *(_decode(text) for text in row[-4:]))


def _replaced(settled: SettledProduct, gone: Sequence[Standing]) -> Standing | None:
    """Return the product of the old list that a new one takes the place of, None if there is none.

    It measures something of the same, or begins on the same day.
    """
    meters = {line["meter_id"] for line in settled.lines} - {None}
    start = settled.dates.start_date
    measuring = (one for one in gone if one.meters & meters)
    beginning = (one for one in gone if one.row["billing_start_date"] == start)
    return next(measuring, None) or next(beginning, None)


def _changed(
    one: Asked,
    row: tuple[Any, ...],
    chain: Sequence[Standing],
    now: datetime,
    *,
    includes_current: bool,
) -> Change:
    """Plan what takes the place of the first of a chain. row: its terms, as stored."""
    settled, fields, former = one.settled, one.settled.product.fields, chain[0]
    terms = [link.terms for link in chain]
    day = boundary(terms, now, includes_current=includes_current)
    start = settled.dates.start_date
    if start > day and not (one.former is not None and former.row["billing_start_date"] == start):
        detail = (
            f"must not be after {day}, when what it takes the place of ends; to let that go on, "
            "list it too, with a billing_end_date"
        )
        fields.add("starts_too_late", detail, "billing_start_date")
    since = day if day > start else None
    if since is not None:
        _refuse_what_goes_on(settled, row, former, since)
        _refuse_settled(settled, former, chain, now)
    ended = [link for link in chain if link is former or link.reaches(day)]
    return Change(settled, one.position, since, former, ended, day)


def _refuse_what_goes_on(
    settled: SettledProduct, row: tuple[Any, ...], former: Standing, since: date
) -> None:
    """Note a problem where something of the periods before can't be carried on."""
    fields = settled.product.fields
    has_money = former.row["credits"] != "[]" or has_contract_commitment(former.row["commitments"])
    if has_money and row[TERMS_COLUMNS.index("currency")] != former.row["currency"]:
        detail = f"what it carries on has credits or a commitment in {former.row['currency']}"
        fields.add("currency_differs", detail, "credits")
    if not _credits_carried(former, row, since)[1]:
        detail = (
            "what was granted stays granted: list the credits that stand first, as they are, and "
            "others behind them"
        )
        fields.add("credits_fixed", detail, "credits")
    known = {line["pricing_line_id"] for line in former.lines}
    is_as_before = _decode(settled.overrides) == _decode(former.row["overrides"])
    for line in settled.lines:
        is_once = _decode(line["price"]).get("recurring") is False
        is_known = line["pricing_line_id"] in known and (is_as_before or not line.get("is_own"))
        if is_once and not is_known:
            detail = (
                f"{line['item']!r} is due in the first period alone, and that is over: leave it "
                "out, or add a product that starts later"
            )
            fields.add("due_once", detail, "line_items")


def _refuse_settled(
    settled: SettledProduct, former: Standing, chain: Sequence[Standing], now: datetime
) -> None:
    """Note a problem where a commitment over the contract was settled by its last document."""
    ends = [(link.terms.end_day, link.terms.timezone) for link in chain]
    is_over = all(day is not None and first_instant(day, zone) <= now for day, zone in ends)
    if is_over and has_contract_commitment(former.row["commitments"]):
        detail = "has ended, and with it its commitment over the contract: make another contract"
        settled.product.fields.add("contract_ended", detail, "commitments")


def billed_behind(change: Change, rows: Sequence[tuple[Any, ...]], now: datetime) -> Change:
    """Return a change of running periods, so that it bills those behind their end.

    rows: the terms of the products asked for, as they are stored.
    """
    if change.settled is None or change.former is None:
        return change
    zone = rows[change.position][TERMS_COLUMNS.index("timezone")]
    terms = replace(billing_terms(change.settled), timezone=zone, since=change.from_date)
    return replace(change, is_anew=True, ahead_since=ahead_again_since(terms, now))


def has_contract_commitment(text: str) -> bool:
    """Tell whether stored commitments hold one over the whole contract."""
    return any(term["over"] == "CONTRACT" for term in _decode(text))


def rated_anew(changes: Sequence[Change]) -> Iterator[SettledProduct]:
    """Yield what usage is to be rated by, with the first day from which on it is."""
    for change in changes:
        settled = change.settled
        if settled is not None and change.since is not None:
            yield replace(settled, dates=replace(settled.dates, start_date=change.since))
        elif settled is not None:
            yield settled


def in_its_term(settled: SettledProduct, former: Standing | None, now: datetime) -> SettledProduct:
    """Let a product that renews itself no more end with its running term, unless it says when."""
    if former is None or settled.product.renews or former.row["term_end_date"] is None:
        return settled
    dates, end = settled.dates, former.row["term_end_date"]
    if dates.end_date != end:
        return settled
    today = now.astimezone(ZoneInfo(former.terms.timezone)).date()
    last = term_end(former.row["billing_start_date"], end, today)
    return replace(settled, dates=replace(dates, end_date=last))


def _added(one: Asked, now: datetime, *, includes_current: bool) -> Change:
    """Add a product that takes no other's place: from its first day, unless that is past."""
    dates, zone = one.settled.dates, one.settled.entity["timezone"]
    terms = billing_terms(one.settled)
    day = boundary([terms], now, includes_current=includes_current)
    is_past = dates.start_date < now.astimezone(ZoneInfo(zone)).date()
    since = day if is_past and day > dates.start_date else None
    return Change(one.settled, one.position, since, None, (), day)


def _ends(
    gone: Sequence[Standing], products: Sequence[Standing], now: datetime, *, includes_current: bool
) -> Iterator[Change]:
    """Yield the ends of products that the new list leaves out."""
    for one in gone:
        chain = chain_of(one, products)
        terms = [link.terms for link in chain]
        day = boundary(terms, now, includes_current=includes_current)
        ended = [link for link in chain if link is one or link.reaches(day)]
        yield Change(None, one.row["position"], None, one, ended, day)


def groups_of(
    changes: Sequence[Change],
    products: Sequence[Standing],
    payables: Mapping[UUID, Any],
    wanted: Sequence[Any],
    *,
    is_collective: bool,
    afresh: bool = False,
) -> list[int]:
    """Return the document group of each change; 0 where a product ends.

    payables: what the products that stand share documents by; wanted: those changed or added.
    afresh: no group goes on, so that documents of before and of after are never the same.
    """
    changed = {change.former.ref for change in changes if change.former is not None}
    known = {
        payables[one.ref]: one.row["document_group"]
        for one in reversed(products)
        if not (one.row["is_over"] or one.ref in changed or afresh)
    }
    taken = max((one.row["document_group"] for one in products), default=-1)
    groups: list[int] = []
    for change, payable in zip(changes, wanted, strict=True):
        former = change.former
        if change.settled is None:
            group = 0
        elif former is not None and not afresh and payables[former.ref] == payable:
            group = former.row["document_group"]
        elif is_collective and payable in known:
            group = known[payable]
        else:
            taken = group = taken + 1
        if change.settled is not None:
            known.setdefault(payable, group)
        groups.append(group)
    return groups
