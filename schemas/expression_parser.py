"""From the text of an expression to its tree: a grammar by hand, a level of precedence a row.

    expression = comparisons joined by `and`, those joined by `or`; `not` before one
    comparison = sum [("==" | "!=" | "<" | "<=" | ">" | ">=") sum]
    sum        = product {("+" | "-") product}
    product    = factor {("*" | "/") factor}
    factor     = "-" factor | number | "text" | 'text' | true | false | null
               | name {"." name | "[" place "]"} | function "(" [expression {"," …}] ")"
               | "(" expression ")"

A quote inside a text is written twice. A name with other characters than letters, digits and `_`
stands in backquotes. A place is a whole number, or a text: the name of a field.
"""

import re
from collections.abc import Collection
from difflib import get_close_matches
from typing import Final

import msgspec

from schemas.expression_functions import ARGUMENTS_MAX, FUNCTIONS
from schemas.expression_nodes import (
    Arithmetic,
    Call,
    Choice,
    Comparison,
    Constant,
    First,
    Junction,
    LookUp,
    Minus,
    Name,
    Node,
    Not,
)
from schemas.expression_values import Path, Value, parse_number, refuse

TEXT_LENGTH_MAX: Final = 2_000
"""Characters of an expression."""

NODES_MAX: Final = 250
DEPTH_MAX: Final = 24
"""Levels of parentheses, functions and signs."""

PATH_LENGTH_MAX: Final = 16
_PLACE_DIGITS_MAX: Final = 6

_split: Final = re.compile(
    r"""(?P<space>[ \t\r\n]+)
    |(?P<number>[0-9]+(?:\.[0-9]+)?)
    |(?P<text>"(?:[^"]|"")*"|'(?:[^']|'')*')
    |(?P<name>[^\W\d]\w*)
    |(?P<quoted>`[^`]+`)
    |(?P<sign>==|!=|<=|>=|[-+*/<>()\[\],.])""",
    re.VERBOSE,
).match

_WORDS: Final = {"true": True, "false": False, "null": None}
_RESERVED: Final = frozenset({"and", "or", "not"})
_COMPARISONS: Final = ("==", "!=", "<", "<=", ">", ">=")
_CHAINS: Final = (("+", "-"), ("*", "/"))
_MISTAKEN: Final = {"=": "==", "&&": "and", "||": "or", "!": "not", "&": "concat(…)"}


class Token(msgspec.Struct, frozen=True):
    """A word of an expression. kind: a group of the pattern above, or `end`."""

    kind: str
    text: str
    at: int


def tokens_of(source: str) -> list[Token]:
    """Split an expression into words. Raises InvalidInput where there is none."""
    if len(source) > TEXT_LENGTH_MAX:
        refuse(
            "expression_too_long",
            TEXT_LENGTH_MAX,
            f"must have at most {TEXT_LENGTH_MAX} characters",
        )
    tokens: list[Token] = []
    at = 0
    while at < len(source):
        match = _split(source, at)
        if match is None:
            refuse("expression_malformed", at, _unknown_sign(source, at))
        kind = str(match.lastgroup)
        if kind != "space":
            tokens.append(Token(kind, match[0], at))
        at = match.end()
    return [*tokens, Token("end", "", at)]


def _unknown_sign(source: str, at: int) -> str:
    if source[at] in "\"'`":
        return "a quote is never closed"
    for sign, meant in _MISTAKEN.items():
        if source.startswith(sign, at):
            return f"{sign!r} is written {meant}"
    return f"{source[at]!r} means nothing here"


class Parser:
    """Reads the words of one expression from left to right.

    names: the first names that paths may have, None for any. look_ups: functions beside FUNCTIONS.
    paths: those that were read.
    """

    def __init__(
        self, source: str, names: Collection[str] | None, look_ups: Collection[str]
    ) -> None:
        self._tokens = tokens_of(source)
        self._place = 0
        self._nodes = 0
        self._depth = 0
        self._names = names
        self._look_ups = look_ups
        self.paths: list[Path] = []

    # ------------------------------------------------------------------ words

    @property
    def _next(self) -> Token:
        return self._tokens[self._place]

    def _take(self) -> Token:
        token = self._next
        self._place += token.kind != "end"
        return token

    def _accept(self, *words: str, kind: str = "sign") -> Token | None:
        token = self._next
        return self._take() if token.kind == kind and token.text in words else None

    def _expect(self, sign: str) -> None:
        if self._accept(sign) is None:
            self._unexpected(f"{sign!r} is expected")

    def _unexpected(self, detail: str) -> None:
        found = self._next
        what = "it ends" if found.kind == "end" else f"there is {found.text[:32]!r}"
        refuse("expression_malformed", found.at, f"{detail}, and {what}")

    def _count(self, node: Node) -> Node:
        self._nodes += 1
        if self._nodes > NODES_MAX:
            refuse("expression_too_large", node.at, f"must have at most {NODES_MAX} parts")
        return node

    # ------------------------------------------------------------------ grammar

    def parse(self) -> Node:
        """Read the whole."""
        node = self._expression()
        if self._next.kind != "end":
            self._unexpected("an operator is expected")
        return node

    def _expression(self) -> Node:
        self._depth += 1
        if self._depth > DEPTH_MAX:
            detail = f"must have at most {DEPTH_MAX} levels"
            refuse("expression_too_deep", self._next.at, detail)
        node = self._junction(is_and=False)
        self._depth -= 1
        return node

    def _junction(self, *, is_and: bool) -> Node:
        word = "and" if is_and else "or"
        at = self._next.at
        parts: list[Node] = []
        while not parts or self._accept(word, kind="name"):
            parts.append(self._negation() if is_and else self._junction(is_and=True))
        return parts[0] if len(parts) == 1 else self._count(Junction(at, is_and, tuple(parts)))

    def _negation(self) -> Node:
        token = self._accept("not", kind="name")
        if token is None:
            return self._comparison()
        if self._next.text == "not":
            self._unexpected("a condition is expected")
        return self._count(Not(token.at, self._comparison()))

    def _comparison(self) -> Node:
        left = self._chain(0)
        operator = self._accept(*_COMPARISONS)
        if operator is None:
            return left
        node = self._count(Comparison(operator.at, operator.text, left, self._chain(0)))
        if self._next.text in _COMPARISONS:
            self._unexpected("two comparisons are joined by 'and'")
        return node

    def _chain(self, level: int) -> Node:
        if level == len(_CHAINS):
            return self._factor()
        first = self._chain(level + 1)
        further: list[tuple[str, Node]] = []
        while (operator := self._accept(*_CHAINS[level])) is not None:
            further.append((operator.text, self._chain(level + 1)))
        if not further:
            return first
        return self._count(Arithmetic(first.at, first, tuple(further)))

    def _factor(self) -> Node:
        sign = self._accept("-")
        if sign is None:
            return self._primary()
        if self._next.text == "-":
            self._unexpected("a number is expected")
        return self._count(Minus(sign.at, self._primary()))

    def _primary(self) -> Node:
        token = self._next
        if token.kind in ("number", "text") or token.text in _WORDS:
            self._take()
            return self._count(Constant(token.at, _constant(token)))
        if token.kind == "quoted" or (token.kind == "name" and token.text not in _RESERVED):
            self._take()
            is_call = token.kind == "name" and self._accept("(") is not None
            return self._call(token) if is_call else self._name(token)
        if self._accept("(") is None:
            self._unexpected("a value is expected")
        node = self._expression()
        self._expect(")")
        return node

    # ------------------------------------------------------------------ names and functions

    def _name(self, token: Token) -> Node:
        first = token.text.strip("`")
        if self._names is not None and first not in self._names:
            detail = f"nothing is named {first[:64]!r}{_hint(first, self._names)}"
            refuse("expression_name_unknown", token.at, detail)
        path: list[str | int] = [first]
        while True:
            if self._accept("."):
                if self._next.kind not in ("name", "quoted"):
                    self._unexpected("a name is expected")
                path.append(self._take().text.strip("`"))
            elif self._accept("["):
                path.append(self._bracket())
                self._expect("]")
            else:
                break
        if len(path) > PATH_LENGTH_MAX:
            refuse("expression_too_deep", token.at, f"at most {PATH_LENGTH_MAX} names in a row")
        self.paths.append(tuple(path))
        return self._count(Name(token.at, tuple(path)))

    def _bracket(self) -> str | int:
        token = self._take()
        if token.kind == "text":
            return str(_constant(token))
        if token.kind != "number" or not token.text.isdigit():
            refuse("expression_malformed", token.at, "a whole number or a text is expected")
        if len(token.text) > _PLACE_DIGITS_MAX:
            refuse("expression_malformed", token.at, "the place is too far")
        return int(token.text)

    def _call(self, token: Token) -> Node:
        arguments: list[Node] = []
        if self._accept(")") is None:
            arguments.append(self._expression())
            while self._accept(","):
                arguments.append(self._expression())
            self._expect(")")
        return self._count(self._function(token, tuple(arguments)))

    def _function(self, token: Token, arguments: tuple[Node, ...]) -> Node:
        name, at = token.text, token.at
        if name == "if":
            _check_count(token, arguments, 3, 3)
            return Choice(at, *arguments)
        if name == "coalesce":
            _check_count(token, arguments, 1, ARGUMENTS_MAX)
            return First(at, arguments)
        if name in self._look_ups:
            _check_count(token, arguments, 2, 2)
            return LookUp(at, name, *arguments)
        function = FUNCTIONS.get(name)
        if function is None:
            known = [*FUNCTIONS, "if", "coalesce", *self._look_ups]
            detail = f"there is no function {name[:64]!r}{_hint(name, known)}"
            refuse("expression_function_unknown", at, detail)
        _check_count(token, arguments, function.least, function.most)
        return Call(at, function.apply, arguments)


def _constant(token: Token) -> Value:
    if token.kind == "text":
        quote = token.text[0]
        return token.text[1:-1].replace(quote * 2, quote)
    if token.kind == "name":
        return _WORDS[token.text]
    value = parse_number(token.text)
    if value is None:
        refuse("expression_number_too_long", token.at, "the number has too many digits")
    return value


def _check_count(token: Token, arguments: tuple[Node, ...], least: int, most: int) -> None:
    if not least <= len(arguments) <= most:
        span = str(least) if least == most else f"{least} to {most}"
        detail = f"{token.text} takes {span} values, and has {len(arguments)}"
        refuse("expression_argument_count", token.at, detail)


def _hint(name: str, known: Collection[str]) -> str:
    nearest = get_close_matches(name[:64], list(known), n=1)
    return f"; did you mean {nearest[0]!r}?" if nearest else ""
