"""Refs by name: what a sender that knows only names means by them."""

from collections.abc import Callable, Sequence


def folded(name: str) -> str:
    """Return what two names must share to count as the same: case and outer space don't matter."""
    return name.strip().casefold()


def exact(name: str) -> str:
    """Return a name as it is: for ids, where case says something."""
    return name


class Names:
    """The refs that have a name. Nothing keeps two of a tenant's customers from sharing one."""

    __slots__ = ("_key_of", "_refs")

    def __init__(self, key_of: Callable[[str], str] = folded) -> None:
        """key_of: what two names must share to count as the same."""
        self._key_of = key_of
        self._refs: dict[str, str | tuple[str, ...]] = {}

    def put(self, ref: str, name: str, former: str | None = None) -> None:
        """Remember a ref by its name. former: the name that it had until now, if it had one."""
        if former is not None:
            if self._key_of(former) == self._key_of(name):
                return
            self.drop(ref, former)
        key = self._key_of(name)
        known = self._refs.get(key)
        if known is None:
            self._refs[key] = ref
        else:
            self._refs[key] = (*self.find(name), ref)

    def drop(self, ref: str, name: str) -> None:
        """Forget that a ref has a name."""
        key = self._key_of(name)
        left = tuple(other for other in self.find(name) if other != ref)
        if left:
            self._refs[key] = left[0] if len(left) == 1 else left
        else:
            self._refs.pop(key, None)

    def find(self, name: str) -> Sequence[str]:
        """Return every ref that has the name."""
        found = self._refs.get(self._key_of(name), ())
        return (found,) if isinstance(found, str) else found
