"""What can go wrong for a caller: one tree, forked by what to do about it.

ClientError
├─ LoginFailed      the key or its password is wrong, or was revoked: correct it
├─ RequestRefused   the server understood and said no: the problem says why
├─ Unavailable      no answer, or none but "later", until the deadline: try again later
├─ QueueFull        more events than the bound are under way: wait, or slow down
└─ ClientClosed     the client was closed: make another one
"""

from msgspec import Struct


class EventError(Struct, frozen=True):
    """One thing that is wrong with an event or a request.

    code: stable name of the rule. detail: a sentence for people.
    pointer: JSON Pointer to the field, empty for the whole.
    """

    code: str
    detail: str
    pointer: str = ""

    def __str__(self) -> str:
        return f"{self.pointer.removeprefix('/') or 'event'}: {self.detail} ({self.code})"


class ClientError(Exception):
    """The root of what this package raises on purpose."""


class LoginFailed(ClientError):
    """The server knows no such key, or not with this password."""


class RequestRefused(ClientError):
    """The server refused a request for good.

    status: of HTTP. code, detail: of the problem. errors: one for every field that is wrong.
    """

    def __init__(
        self, status: int, code: str, detail: str, errors: tuple[EventError, ...] = ()
    ) -> None:
        super().__init__(status, code, detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.errors = errors

    def __str__(self) -> str:
        said = f"{self.detail} ({self.status} {self.code})"
        return "; ".join([said, *map(str, self.errors)])


class Unavailable(ClientError):
    """The server could not be asked, or asked to come back later, until there was no time left."""


class QueueFull(ClientError):
    """The bound on events under way is reached, and waiting was not wanted."""


class ClientClosed(ClientError):
    """Nothing can be handed in any more."""
