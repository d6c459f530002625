"""What an answer to a batch means for its events. Pure."""

from typing import Final

import msgspec
from msgspec import Struct

from meterline_client.errors import ClientError, EventError, RequestRefused
from meterline_client.outcomes import Receipt

ACCEPTED: Final = 202
TOO_LARGE: Final = 413
UNAVAILABLE: Final = 503
#: Refusals that may be over soon: too slow, too early, too many.
RETRIED: Final = frozenset({408, 425, 429})


class Placed(Struct, frozen=True):
    """An event is in the log."""

    event_ref: str
    receipt: Receipt


class Refused(Struct, frozen=True):
    """An event can't be taken."""

    errors: tuple[EventError, ...]


class Settled(Struct, frozen=True):
    """The server answered for every event, in order; None where it does not know yet."""

    results: list[Placed | Refused | None]
    may_be_recorded: bool


class Again(Struct, frozen=True):
    """The request is to be repeated whole."""

    reason: str
    may_be_recorded: bool


class Split(Struct, frozen=True):
    """The request is too large for someone on the way."""


class Never(Struct, frozen=True):
    """The request is refused, and will be when it is repeated."""

    error: ClientError


Verdict = Settled | Again | Split | Never


class _ItemError(Struct):
    index: int
    code: str
    detail: str
    pointer: str = ""


class _Bulk(Struct):
    event_refs: list[str | None]
    receipts: list[Receipt | None]
    errors: list[_ItemError]
    unknown: list[int] = []
    may_be_recorded: bool = False


class _Problem(Struct):
    code: str
    detail: str = ""
    errors: tuple[EventError, ...] = ()
    may_be_recorded: bool = False


_decode_bulk: Final = msgspec.json.Decoder(_Bulk).decode
_decode_problem: Final = msgspec.json.Decoder(_Problem).decode


def judge(status: int, body: bytes, count: int) -> Verdict:
    """Read the answer to a request with `count` events."""
    if status in (ACCEPTED, UNAVAILABLE):
        settled = _read_bulk(body, count)
        if settled is not None:
            return settled
    if status == TOO_LARGE:
        return Split() if count > 1 else _refused_alone(refusal(status, body))
    if is_final(status):
        return Never(refusal(status, body))
    problem = read_problem(body)
    if problem is None:  # not from the product: who knows how far the request got
        return Again(f"the server answered {status}", may_be_recorded=True)
    return Again(
        f"{problem.detail} ({status} {problem.code})",
        may_be_recorded=problem.may_be_recorded or status not in (*RETRIED, UNAVAILABLE),
    )


def _refused_alone(error: RequestRefused) -> Settled:
    """Return the verdict on a request refused for the one event in it."""
    errors = error.errors or (EventError(error.code, error.detail),)
    return Settled([Refused(errors)], may_be_recorded=False)


def is_final(status: int) -> bool:
    """Tell whether a status means that the same request will never succeed."""
    return 300 <= status < 500 and status not in RETRIED  # noqa: PLR2004 - HTTP's own classes


def refusal(status: int, body: bytes) -> RequestRefused:
    """Return the error that an answer is."""
    problem = read_problem(body)
    if problem is None:
        text = body[:200].decode(errors="replace").strip()
        return RequestRefused(status, "refused", text or "the server refused the request")
    return RequestRefused(status, problem.code, problem.detail, problem.errors)


def read_problem(body: bytes) -> _Problem | None:
    """Read a problem document of the product; None when it is nothing of the kind."""
    try:
        return _decode_problem(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _read_bulk(body: bytes, count: int) -> Settled | None:
    """Read an answer that speaks of each event; None unless it speaks of exactly these."""
    try:
        bulk = _decode_bulk(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    if not len(bulk.event_refs) == len(bulk.receipts) == count:
        return None
    errors: dict[int, list[EventError]] = {}
    for error in bulk.errors:
        found = EventError(error.code, error.detail, error.pointer)
        errors.setdefault(error.index, []).append(found)
    results: list[Placed | Refused | None] = []
    for index, (ref, receipt) in enumerate(zip(bulk.event_refs, bulk.receipts, strict=True)):
        if ref is not None and receipt is not None:
            results.append(Placed(ref, receipt))
        elif index in errors:
            results.append(Refused(tuple(errors[index])))
        else:
            results.append(None)
    # An event that neither list names has no known outcome, whatever the status says.
    is_open = bulk.may_be_recorded or (None in results and not bulk.unknown)
    return Settled(results, is_open)
