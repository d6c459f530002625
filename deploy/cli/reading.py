"""Requests in JSON on standard input, for the commands that compute without a server."""

import sys
from collections.abc import Callable, Mapping
from typing import Final, TypeVar

import msgspec

from deploy.local.errors import StackError
from gateway.manage.body import parse_object
from schemas.errors import InvalidInput

REQUEST_BYTES_MAX: Final = 4 * 1024 * 1024

T = TypeVar("T")


class WrongRequest(StackError):
    """What was asked for can't be computed; the message lists all that is wrong. Exit code 2."""

    exit_code = 2


def read_request(read: Callable[[Mapping[str, object]], T], example: str) -> T:
    """Read a JSON object from standard input, numbers exact. Raises WrongRequest.

    example: the command with an input, for who called it without any.
    """
    if sys.stdin.isatty():
        raise WrongRequest(f"the request is read from standard input, as in\n\n    {example}\n")
    text = sys.stdin.buffer.read(REQUEST_BYTES_MAX + 1)
    if len(text) > REQUEST_BYTES_MAX:
        raise WrongRequest(f"the request is longer than {REQUEST_BYTES_MAX:,} bytes")
    try:
        return read(parse_object(text))
    except InvalidInput as error:
        wrong = [f"{p.pointer or '/'}: {p.detail} ({p.code})" for p in error.problems]
        raise WrongRequest("the request is wrong:\n  " + "\n  ".join(wrong)) from None


def write_json(answer: object) -> None:
    """Print an answer as one line of JSON."""
    sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
