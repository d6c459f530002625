"""The tree of an expression. A node evaluates itself, each at most once in a run.

Chains such as `a + b + c` are one node, so that the tree is as deep as its parentheses.
"""

from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Final

import msgspec

from schemas.expression_values import (
    Path,
    Run,
    Value,
    kind_of,
    number,
    refuse,
    text,
    truth,
)


class Node(msgspec.Struct, frozen=True):
    """A part of an expression. at: its place in the text, from 0."""

    at: int

    def evaluate(self, run: Run) -> Value:
        """Return the value. Raises InvalidInput."""
        value = self.value(run)
        run.spend(value, self.at)
        return value

    def value(self, run: Run) -> Value:
        """Compute the value, not yet paid for."""
        raise NotImplementedError


class Constant(Node, frozen=True):
    """A number, a text, true, false or null."""

    constant: Value

    def evaluate(self, run: Run) -> Value:
        """Return it: it is short, as it stands in the text."""
        run.steps_left -= 1
        return self.constant


class Name(Node, frozen=True):
    """A value of the source."""

    path: Path

    def value(self, run: Run) -> Value:
        """Find it."""
        return run.find(self.path)


class Minus(Node, frozen=True):
    """A number with its sign turned."""

    inner: Node

    def value(self, run: Run) -> Value:
        """Turn the sign."""
        return -number(self.inner.evaluate(run), self.inner.at)


class Not(Node, frozen=True):
    """The contrary."""

    inner: Node

    def value(self, run: Run) -> Value:
        """Turn it round."""
        return not truth(self.inner.evaluate(run), self.inner.at)


class Arithmetic(Node, frozen=True):
    """A sum or a product: the first number, and what is done with each further one in turn."""

    first: Node
    further: tuple[tuple[str, Node], ...]

    def value(self, run: Run) -> Value:
        """Compute from left to right."""
        result = number(self.first.evaluate(run), self.first.at)
        for operator, node in self.further:
            operand = number(node.evaluate(run), node.at)
            if operator == "/" and not operand:
                refuse("expression_division_by_zero", node.at, "nothing is divided by zero")
            result = OPERATIONS[operator](result, operand)
            run.spend(result, node.at)
        return result


OPERATIONS: Final[Mapping[str, Callable[[Fraction, Fraction], Fraction]]] = {
    "+": lambda left, right: left + right,
    "-": lambda left, right: left - right,
    "*": lambda left, right: left * right,
    "/": lambda left, right: left / right,
}


class Comparison(Node, frozen=True):
    """Whether two values of one kind are equal, or which is first. Anything may be null or not."""

    operator: str
    left: Node
    right: Node

    def value(self, run: Run) -> Value:
        """Compare."""
        left, right = self.left.evaluate(run), self.right.evaluate(run)
        is_about_equality = self.operator in ("==", "!=")
        if is_about_equality and (left is None or right is None):
            return (left is right) == (self.operator == "==")
        if type(left) is not type(right):
            detail = f"{kind_of(left)} can't be compared with {kind_of(right)}"
            refuse("expression_type", self.at, detail)
        if is_about_equality:
            return (left == right) == (self.operator == "==")
        return self._is_ordered(left, right)

    def _is_ordered(self, left: Value, right: Value) -> bool:
        if isinstance(left, Fraction) and isinstance(right, Fraction):
            order = (left > right) - (left < right)
        else:
            one, other = text(left, self.left.at), text(right, self.right.at)
            order = (one > other) - (one < other)
        return {"<": order < 0, "<=": order <= 0, ">": order > 0, ">=": order >= 0}[self.operator]


class Junction(Node, frozen=True):
    """Several conditions joined by `and` or by `or`; the first that decides ends it."""

    is_and: bool
    parts: tuple[Node, ...]

    def value(self, run: Run) -> Value:
        """Ask one after another."""
        for part in self.parts:
            if truth(part.evaluate(run), part.at) != self.is_and:
                return not self.is_and
        return self.is_and


class Choice(Node, frozen=True):
    """`if(condition, this, that)`: the other one is not computed."""

    condition: Node
    this: Node
    that: Node

    def value(self, run: Run) -> Value:
        """Choose."""
        is_this = truth(self.condition.evaluate(run), self.condition.at)
        return (self.this if is_this else self.that).evaluate(run)


class First(Node, frozen=True):
    """`coalesce(…)`: the first value that is there; those after it are not computed."""

    parts: tuple[Node, ...]

    def value(self, run: Run) -> Value:
        """Ask one after another."""
        for part in self.parts:
            value = part.evaluate(run)
            if value is not None:
                return value
        return None


class Call(Node, frozen=True):
    """A function of values. apply: takes the run, the place and the values."""

    apply: Callable[[Run, int, tuple[Value, ...]], Value]
    arguments: tuple[Node, ...]

    def value(self, run: Run) -> Value:
        """Compute the values, then the function of them."""
        return self.apply(run, self.at, tuple(node.evaluate(run) for node in self.arguments))


class LookUp(Node, frozen=True):
    """`customer_by(key, value)` and the like: a ref that the surroundings find."""

    name: str
    key: Node
    sought: Node

    def value(self, run: Run) -> Value:
        """Look it up."""
        key = text(self.key.evaluate(run), self.key.at)
        return run.look_ups[self.name](key, text(self.sought.evaluate(run), self.sought.at))
