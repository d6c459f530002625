"""Expressions that tenants write: exact, bounded, and unable to do anything but compute.

    round(quantity * 0.001, 3)
    if(plan == 'free', 0, quantity)
    customer_by('external_id', trim(account))

Numbers are exact fractions; a result that never ends has to be rounded where it is needed. The
grammar is in `expression_parser`, the functions in `expression_functions`, the bounds beside them.
Nothing here is Python's `eval`: there is no name, function or attribute but those listed.
"""

from collections.abc import Collection
from typing import Final, Self

import msgspec

from schemas.errors import InvalidInput
from schemas.expression_nodes import Name, Node
from schemas.expression_parser import Parser
from schemas.expression_values import LookUp, Path, Run, Value, decimal_text, parse_number

__all__ = ["Expression", "LookUp", "Path", "Run", "Value", "decimal_text", "parse_number"]

NO_NAMES: Final[Collection[str]] = ()


class Expression(msgspec.Struct, frozen=True):
    """An expression that was read. paths: every name in it, in order."""

    text: str
    paths: tuple[Path, ...]
    tree: Node

    @classmethod
    def parse(
        cls,
        text: str,
        *,
        names: Collection[str] | None = None,
        look_ups: Collection[str] = NO_NAMES,
    ) -> Self:
        """Read an expression.

        names: what paths may begin with, None for anything. look_ups: the look-ups that there are.
        Raises InvalidInput with a code `expression_…` and the place.
        """
        parser = Parser(text, names, look_ups)
        tree = parser.parse()
        return cls(text, tuple(parser.paths), tree)

    def evaluate(self, run: Run) -> Value:
        """Compute the value in surroundings that have every look-up it was read with.

        Raises InvalidInput, also with what look-ups and finding a name raise.
        """
        return self.tree.evaluate(run)


def parse_path(text: str) -> Path:
    """Read the path of a value, such as `usage.amount` or `items[0].price`.

    Raises InvalidInput `path_malformed`.
    """
    try:
        parsed = Expression.parse(text)
    except InvalidInput as error:
        raise InvalidInput("path_malformed", f"{error.detail} {_PATH_REMEDY}") from None
    if not isinstance(parsed.tree, Name):
        raise InvalidInput("path_malformed", _PATH_REMEDY)
    return parsed.tree.path


_PATH_REMEDY: Final = (
    "(a path is the name of a field, such as amount or usage.amount; "
    "a name with other signs than letters, digits and _ stands in backquotes)"
)
