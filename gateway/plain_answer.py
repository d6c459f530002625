"""Writes an answer as HTTP/1.1, in the form that aiohttp gives it."""

from http import HTTPStatus
from typing import Final

from gateway.answer import Answer
from gateway.refusals import SERVER

_CLOSE: Final = "Connection: close\r\n"
_REASONS: Final = {int(status): status.phrase for status in HTTPStatus}


def write_answer(answer: Answer, request_id: str, date: str, *, is_last: bool) -> bytes:
    """Write an answer. date: of now, as HTTP has it. is_last: the connection ends with it."""
    body = answer.body
    headers = answer.headers
    more = "".join([f"{name}: {headers[name]}\r\n" for name in headers]) if headers else ""
    head = (
        f"HTTP/1.1 {answer.status} {_REASONS[answer.status]}\r\n"
        f"{more}Content-Type: {answer.content_type}\r\nX-Request-Id: {request_id}\r\n"
        f"Server: {SERVER}\r\nContent-Length: {len(body)}\r\nDate: {date}\r\n"
        f"{_CLOSE if is_last else ''}\r\n"
    )
    return head.encode("ascii") + body
