"""Writes an answer as HTTP/1.1, in the form that aiohttp gives it."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from gateway.answer import Answer
from gateway.refusals import SERVER

_CLOSE: Final = "Connection: close\r\n"
_REASONS: Final = {int(status): status.phrase for status in HTTPStatus}


class _Lines:
    """Writes headers as lines; those of answers behind each other are mostly the same object."""

    def __init__(self) -> None:
        self._of: Mapping[str, str] | None = None
        self._lines = ""

    def write(self, headers: Mapping[str, str]) -> str:
        if headers is not self._of:
            self._lines = "".join([f"{name}: {headers[name]}\r\n" for name in headers])
            self._of = headers
        return self._lines


_write_lines: Final = _Lines().write


def write_answer(answer: Answer, request_id: str, date: str, *, is_last: bool) -> bytes:
    """Write an answer. date: of now, as HTTP has it. is_last: the connection ends with it."""
    body = answer.body
    head = (
        f"HTTP/1.1 {answer.status} {_REASONS[answer.status]}\r\n"
        f"{_write_lines(answer.headers)}Content-Type: {answer.content_type}\r\n"
        f"X-Request-Id: {request_id}\r\n"
        f"Server: {SERVER}\r\nContent-Length: {len(body)}\r\nDate: {date}\r\n"
        f"{_CLOSE if is_last else ''}\r\n"
    )
    return head.encode("ascii") + body
