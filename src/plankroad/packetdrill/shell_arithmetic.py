"""Numbers as a shell has them: what stands in `$((...))`, and how a single one is written."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from plankroad.packetdrill.errors import ShellError

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LEVELS: Final = (
    ("||",),
    ("&&",),
    ("|",),
    ("^",),
    ("&",),
    ("==", "!="),
    ("<=", ">=", "<", ">"),
    ("<<", ">>"),
    ("+", "-"),
    ("*", "/", "%"),
)


def arithmetic(text: str, variables: dict[str, str]) -> int:
    """The value of what stands in `$((...))`: whole numbers (also 0x.. and 0..), names, operators of C."""
    tokens = re.findall(r"0[xX][0-9a-fA-F]+|\d+|[A-Za-z_]\w*|<<|>>|<=|>=|==|!=|&&|\|\||[-+*/%()<>&|^~!]|\S", text)
    at = 0

    def fail() -> ShellError:
        return ShellError(f"$(({text})) is no arithmetic that is known here")

    def unary() -> int:
        nonlocal at
        if at >= len(tokens):
            raise fail()
        token = tokens[at]
        at += 1
        if token == "-":
            return -unary()
        if token == "+":
            return unary()
        if token == "~":
            return ~unary()
        if token == "!":
            return int(not unary())
        if token == "(":
            value = level(0)
            if at >= len(tokens) or tokens[at] != ")":
                raise fail()
            at += 1
            return value
        if token[0].isdigit():
            return number(token)
        if _NAME.fullmatch(token):
            found = variables.get(token, "").strip()
            return arithmetic(found, {}) if found else 0
        raise fail()

    def level(depth: int) -> int:
        nonlocal at
        if depth == len(_LEVELS):
            return unary()
        value = level(depth + 1)
        while at < len(tokens) and tokens[at] in _LEVELS[depth]:
            operator = tokens[at]
            at += 1
            value = _apply(operator, value, level(depth + 1), fail)
        return value

    result = level(0)
    if at != len(tokens):
        raise fail()
    return result


def _apply(operator: str, a: int, b: int, fail: Callable[[], ShellError]) -> int:
    if operator in ("/", "%"):
        if b == 0:
            raise fail()
        quotient = abs(a) // abs(b)
        quotient = quotient if (a < 0) == (b < 0) else -quotient
        return quotient if operator == "/" else a - b * quotient
    if operator in ("<<", ">>"):
        return a << b if operator == "<<" else a >> b
    table = {
        "+": a + b,
        "-": a - b,
        "*": a * b,
        "&": a & b,
        "|": a | b,
        "^": a ^ b,
        "==": int(a == b),
        "!=": int(a != b),
        "<": int(a < b),
        ">": int(a > b),
        "<=": int(a <= b),
        ">=": int(a >= b),
        "&&": int(bool(a) and bool(b)),
        "||": int(bool(a) or bool(b)),
    }
    return table[operator]


def number(text: str) -> int:
    """A whole number as shell and sysctl write it: decimal, 0x.. or, with a leading 0, octal. ShellError if none."""
    sign = -1 if text.startswith("-") else 1
    digits = text.lstrip("+-")
    try:
        if digits[:2].lower() == "0x":
            return sign * int(digits, 16)
        if len(digits) > 1 and digits[0] == "0":
            return sign * int(digits, 8)
        return sign * int(digits)
    except ValueError:
        raise ShellError(f"{text!r} is no number") from None
