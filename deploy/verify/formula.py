"""What a formula comes to, by a second opinion: its text read as Python's grammar, in fractions.

It shares no line with `schemas/expression*.py`. Nothing is executed: the tree is walked, and what
is not known here is refused.
"""

import ast
import json
import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import lru_cache
from math import ceil, floor
from typing import Any, Final

from deploy.verify.check import CannotCheck

Number = Any
"""A Fraction, or a bool where the tree says so."""

Names = Mapping[str, Callable[[], Fraction]]


def _half_away(value: Fraction) -> int:
    whole = floor(abs(value) + Fraction(1, 2))
    return whole if value >= 0 else -whole


def _to_places(whole: Callable[[Fraction], int]) -> Callable[..., Fraction]:
    return lambda value, places=Fraction(0): (
        Fraction(whole(value * Fraction(10) ** int(places)), 1) / Fraction(10) ** int(places)
    )


_CALLS: Final[Mapping[str, Callable[..., Number]]] = {
    "abs": abs,
    "min": min,
    "max": max,
    "round": _to_places(_half_away),
    "floor": _to_places(floor),
    "ceil": _to_places(ceil),
    "if_": lambda condition, this, that: this if condition else that,
    "number": Fraction,
    "lower": str.lower,
    "upper": str.upper,
    "trim": str.strip,
    "length": lambda text: Fraction(len(text)),
}
_SUMS: Final[Mapping[type[ast.operator], Callable[[Number, Number], Number]]] = {
    ast.Add: lambda left, right: left + right,
    ast.Sub: lambda left, right: left - right,
    ast.Mult: lambda left, right: left * right,
    ast.Div: lambda left, right: Fraction(left) / right,
}
_COMPARISONS: Final[Mapping[type[ast.cmpop], Callable[[Number, Number], bool]]] = {
    ast.Eq: lambda left, right: left == right,
    ast.NotEq: lambda left, right: left != right,
    ast.Lt: lambda left, right: left < right,
    ast.LtE: lambda left, right: left <= right,
    ast.Gt: lambda left, right: left > right,
    ast.GtE: lambda left, right: left >= right,
}


def evaluate(text: str, names: Names) -> Fraction:
    """Return what an expression comes to. names: values by name, `tiers[0].up_to` among them.

    Raises CannotCheck for what is not known here.
    """
    try:
        source, tree = _tree(text)
        return Fraction(_Walk(names, source).visit(tree))
    except (SyntaxError, TypeError, ValueError, KeyError, ZeroDivisionError) as error:
        raise CannotCheck(f"what {text!r} comes to is not known here: {error}") from None


class EventNames(dict[str, Callable[[], Number]]):
    """The names that a meter's formula may use, for one event. data: JSON text, numbers exact."""

    def __init__(self, quantity: Fraction, data: str | None) -> None:
        super().__init__(quantity=lambda: quantity)
        self._data = json.loads(data or "{}", parse_int=Fraction, parse_float=Fraction)

    def __missing__(self, name: str) -> Callable[[], Number]:
        first, *path = re.findall(r"\w+", name)
        found = self._data if first == "additional_report_data" else None
        for part in path:
            if isinstance(found, list):
                found = found[int(part)] if int(part) < len(found) else None
            else:
                found = found.get(part) if isinstance(found, dict) else None
        return lambda: found


@lru_cache(maxsize=4_096)
def _tree(text: str) -> tuple[str, ast.expr]:
    """Read an expression, with its text as Python's grammar has it: numbers are read from there."""
    parts = re.split(r"""("[^"]*"|'[^']*')""", text)
    parts[::2] = map(_as_python, parts[::2])  # the others are texts, which stay as they are
    source = f"({''.join(parts)}\n)"
    return source, ast.parse(source, mode="eval").body


def _as_python(text: str) -> str:
    """Write a part of an expression, without texts, as Python has it."""
    python = re.sub(r"\bif\s*\(", "if_(", text.replace("`", ""))
    for word, meant in (("true", "True"), ("false", "False"), ("null", "None")):
        python = re.sub(rf"\b{word}\b", meant, python)
    return re.sub(r"(?<![\w.])0+(?=\d)", "", python)  # no number begins with a nought there


class _Walk(ast.NodeVisitor):
    """Walks a tree; every kind of part that is known has a method, named by `ast`."""

    def __init__(self, names: Names, source: str) -> None:
        self.names = names
        self.source = source

    def visit_Constant(self, node: ast.Constant) -> Number:
        if isinstance(node.value, int | float) and not isinstance(node.value, bool):
            return Fraction(str(ast.get_source_segment(self.source, node)))  # with every digit
        return node.value

    def visit_Name(self, node: ast.Name) -> Number:
        return self.names[node.id]()

    def visit_Attribute(self, node: ast.Attribute) -> Number:
        return self.names[ast.unparse(node)]()

    def visit_UnaryOp(self, node: ast.UnaryOp) -> Number:
        value = self.visit(node.operand)
        return not value if isinstance(node.op, ast.Not) else -value

    def visit_BinOp(self, node: ast.BinOp) -> Number:
        return _SUMS[type(node.op)](self.visit(node.left), self.visit(node.right))

    def visit_BoolOp(self, node: ast.BoolOp) -> Number:
        values = [self.visit(part) for part in node.values]
        return all(values) if isinstance(node.op, ast.And) else any(values)

    def visit_Compare(self, node: ast.Compare) -> Number:
        (operator,), (other,) = node.ops, node.comparators
        return _COMPARISONS[type(operator)](self.visit(node.left), self.visit(other))

    def visit_Call(self, node: ast.Call) -> Number:
        name = ast.unparse(node.func)
        if name == "coalesce":
            values = map(self.visit, node.args)
            return next((value for value in values if value is not None), None)
        return _CALLS[name](*map(self.visit, node.args))

    def generic_visit(self, node: ast.AST) -> Number:
        raise CannotCheck(f"{ast.unparse(node)!r} in a formula is not known here")
