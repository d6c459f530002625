"""Who a request's token or session stands for, and what they may do."""

from typing import Final

import msgspec

from schemas.errors import NotAllowed

SCOPES: Final = ("usage:write", "usage:read", "billing:read", "billing:write", "admin")
"""Everything that a key or an admin can be allowed."""


class Claims(msgspec.Struct, frozen=True, gc=False):
    """What a valid token or session says, and the tenant's number behind it.

    actor: `key <ref>` or `admin <ref>`, as the audit log names them.
    api_key_ref, token_id, password_number: of a token alone: the key, the token's own id, and
    which of the key's passwords it was got with. is_session: it came in a cookie, which a browser
    sends along whoever made it call.
    """

    actor: str
    tenant_id: int
    tenant_ref: str
    scopes: frozenset[str]
    expires_at: int
    api_key_ref: str = ""
    token_id: str = ""
    password_number: int = 0
    is_session: bool = False

    def require(self, scope: str) -> None:
        """Raise NotAllowed unless the caller has the scope."""
        if scope not in self.scopes:
            raise NotAllowed("scope_missing", f"the scope {scope!r} is needed")
