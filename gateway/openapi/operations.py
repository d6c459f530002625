"""What a route says of itself, for the API's description: declared where the route is.

A route that says nothing is described all the same, by its path, its scope and its docstring.
"""

from collections.abc import Callable
from typing import Final

from msgspec import Struct

from gateway.manage.body import Fields

Reads = Callable[[Fields], object]
"""Reads the fields of a body or a query; the description is taken from what it asks for."""


class Operation(Struct, frozen=True):
    """What is not in the path.

    scope: what the caller's token must allow, None where it needs none.
    reads: what reads the body. body: or the type that the body is decoded into.
    asks: what reads the query. status: of the answer when all is well.
    media: of the answer when all is well, JSON first where there is a choice.
    body_media: the forms that a body may come in.
    is_repeatable: with an Idempotency-Key, a repeat is done once.
    """

    scope: str | None = None
    reads: Reads | None = None
    body: type | None = None
    asks: Reads | None = None
    status: int = 200
    media: tuple[str, ...] = ("application/json",)
    body_media: tuple[str, ...] = ("application/json",)
    is_repeatable: bool = False


_operations: Final[dict[object, Operation]] = {}


def needs_caller(path: str) -> bool:
    """Tell whether a path is for those alone who are logged in."""
    return path.startswith(("/api/", "/auth/")) and path != "/auth/login"


def describe(handler: object, operation: Operation) -> None:
    """Say what a handler takes and answers."""
    _operations[handler] = operation


def operation_of(handler: object) -> Operation:
    """Return what was said of a handler."""
    return _operations.get(handler, Operation())
