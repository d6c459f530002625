"""A format as memory holds it: read from its definition when it is first used."""

from schemas.formats import Format
from schemas.formats_definition import parse_definition


class KnownFormat:
    """A tenant's format. definition: JSON, None for the one that takes the API's own fields."""

    __slots__ = ("_rules", "definition", "name")

    def __init__(self, name: str, definition: str | None) -> None:
        self.name = name
        self.definition = definition
        self._rules: Format | None = None

    @property
    def rules(self) -> Format | None:
        """Return the rules; None where the API's own fields are taken as they are."""
        if self._rules is None and self.definition is not None:
            self._rules = parse_definition(self.definition.encode())
        return self._rules
