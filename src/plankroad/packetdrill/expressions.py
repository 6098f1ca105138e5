"""The values of expressions, and whether what a system call left is what the script says.

An expression is evaluated to a plain value:

| expression | value |
|---|---|
| `...` | `ANYTHING` |
| `10`, `-1`, `SO_ERROR`, `O_RDWR|O_NONBLOCK`, `htons(80)` | int |
| `"abc"`, `"abc"...` | `Text` |
| `inet_addr("10.0.0.1")`, `inet6_addr("::1")` | bytes, 4 or 16 |
| `[a, b]` | list |
| `{name=value, ...}`, `{..., 1000}` | `Record` |

`htons`, `htonl` and their kin give their argument: a port is a port.
Names are those of `constants`. What has no value raises BadScriptError with the place.
"""

from __future__ import annotations

from typing import Final, NamedTuple, TypeAlias

from plankroad.packetdrill.constants import VALUES
from plankroad.packetdrill.errors import BadScriptError
from plankroad.packetdrill.syntax import (
    Array,
    Binary,
    Call,
    Expression,
    Integer,
    String,
    Struct,
    Symbol,
    Unary,
    Wild,
)
from plankroad.wire.address import ip_to_bytes


class Anything:
    """The value of `...`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "..."


ANYTHING: Final = Anything()


class Text(NamedTuple):
    """A string. `open_end`: more of anything may follow `data`."""

    data: bytes
    open_end: bool = False


class Record:
    """A structure: `named` members in order, bare `items`, and the `selectors` of members that have one."""

    __slots__ = ("items", "named", "selectors")

    def __init__(
        self,
        named: dict[str, Value] | None = None,
        items: list[Value] | None = None,
        selectors: dict[str, Value] | None = None,
    ) -> None:
        self.named: dict[str, Value] = {} if named is None else named
        self.items: list[Value] = [] if items is None else items
        self.selectors: dict[str, Value] = {} if selectors is None else selectors

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Record) and (self.named, self.items) == (other.named, other.items)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        parts = [f"{name}={value_text(value)}" for name, value in self.named.items()]
        return "{" + ", ".join(parts + [value_text(item) for item in self.items]) + "}"


Value: TypeAlias = "Anything | int | Text | bytes | list[Value] | Record"

_SAME: Final = frozenset(["htons", "htonl", "ntohs", "ntohl"])
_ADDRESS: Final = {"inet_addr": 4, "inet6_addr": 16, "inet_pton": 0}
_MOST_SHIFT: Final = 63


def evaluate(expression: Expression) -> Value:
    """The value of `expression`."""
    if isinstance(expression, Wild):
        return ANYTHING
    if isinstance(expression, String):
        return Text(expression.value.encode("latin-1"), expression.open_end)
    if isinstance(expression, Array):
        return [evaluate(item) for item in expression.items]
    if isinstance(expression, Struct):
        return _record(expression)
    if isinstance(expression, Call) and expression.name in _ADDRESS:
        return _address(expression)
    return number(expression)


def number(expression: Expression) -> int:
    """The value of `expression`, which must be a number."""
    if isinstance(expression, Integer):
        return expression.value
    if isinstance(expression, Symbol):
        value = VALUES.get(expression.name)
        if value is None:
            raise BadScriptError(
                expression.where, f'found the name "{expression.name}", expected a constant that is known or a define'
            )
        return value
    if isinstance(expression, Binary):
        return _binary(expression)
    if isinstance(expression, Unary):
        value = number(expression.operand)
        return -value if expression.operator == "-" else ~value & 0xFFFFFFFF
    if isinstance(expression, Call):
        if expression.name in _SAME and len(expression.arguments) == 1:
            return number(expression.arguments[0])
        raise BadScriptError(
            expression.where, f'found "{expression.name}(...)", expected htons, htonl, inet_addr or inet6_addr'
        )
    raise BadScriptError(expression.where, f"found {expression_text(expression)}, expected a number")


def _binary(expression: Binary) -> int:
    left = number(expression.left)
    right = number(expression.right)
    if expression.operator == "|":
        return left | right
    if expression.operator == "&":
        return left & right
    if expression.operator == "^":
        return left ^ right
    if not 0 <= right <= _MOST_SHIFT:
        raise BadScriptError(expression.where, f"found a shift by {right}, expected 0 to {_MOST_SHIFT} bits")
    return left << right if expression.operator == "<<" else left >> right


def _record(struct: Struct) -> Record:
    record = Record()
    for member in struct.members:
        value = evaluate(member.value)
        if not member.name:
            record.items.append(value)
            continue
        if member.name in record.named:
            raise BadScriptError(member.where, f'found a second "{member.name}", expected each member once')
        record.named[member.name] = value
        if member.selector is not None:
            record.selectors[member.name] = evaluate(member.selector)
    return record


def _address(call: Call) -> bytes:
    argument = call.arguments[0] if len(call.arguments) == 1 else None
    if not isinstance(argument, String):
        raise BadScriptError(call.where, f'found no string in "{call.name}(...)", expected one address')
    try:
        address = ip_to_bytes(argument.value)
    except ValueError:
        address = b""
    if not address or len(address) != (_ADDRESS[call.name] or len(address)):
        raise BadScriptError(argument.where, f'found "{argument.value}", expected an address of {call.name}')
    return address


def differences(expected: Value, actual: Value, name: str = "") -> list[str]:
    """How `actual` is not what `expected` says, one line each: `name: expected X, got Y`. [] where it is.

    `ANYTHING` is met by everything; a `Text` with an open end by one that begins so. Arrays have the same length. A
    record has all members that are expected; those nobody asked for may be there too.
    """
    if isinstance(expected, Anything):
        return []
    label = f"{name}: " if name else ""
    if isinstance(expected, Text) and isinstance(actual, Text | bytes):
        data = actual.data if isinstance(actual, Text) else actual
        if data == expected.data or (expected.open_end and data.startswith(expected.data)):
            return []
    elif isinstance(expected, list) and isinstance(actual, list):
        if len(expected) == len(actual):
            found: list[str] = []
            for i in range(len(expected)):
                found += differences(expected[i], actual[i], f"{name}[{i}]")
            return found
    elif isinstance(expected, Record) and isinstance(actual, Record):
        return _record_differences(expected, actual, name)
    elif type(expected) is type(actual) and expected == actual:
        return []
    return [f"{label}expected {value_text(expected)}, got {value_text(actual)}"]


def _record_differences(expected: Record, actual: Record, name: str) -> list[str]:
    found: list[str] = []
    prefix = f"{name}." if name else ""
    for member, value in expected.named.items():
        if isinstance(value, Anything):
            continue
        if member in actual.named:
            found += differences(value, actual.named[member], prefix + member)
        else:
            found.append(f"{prefix}{member}: expected {value_text(value)}, got nothing")
    if expected.items or actual.items:
        found += differences(expected.items, actual.items, name)
    return found


def value_text(value: Value) -> str:
    """A value for a message, as a script would write it."""
    if isinstance(value, Text):
        return '"' + _escape(value.data) + '"' + ("..." if value.open_end else "")
    if isinstance(value, bytes):
        return '"' + _escape(value) + '"'
    if isinstance(value, list):
        return "[" + ", ".join([value_text(item) for item in value]) + "]"
    return repr(value)


def _escape(data: bytes) -> str:
    shown = "".join(
        chr(byte) if 0x20 <= byte < 0x7F and byte not in b'"\\' else f"\\x{byte:02x}" for byte in data[:64]
    )
    return shown + ("..." if len(data) > 64 else "")


def expression_text(expression: Expression) -> str:
    """An expression as a script writes it."""
    if isinstance(expression, Wild):
        return "..."
    if isinstance(expression, Integer):
        return expression.text
    if isinstance(expression, Symbol):
        return expression.name
    if isinstance(expression, String):
        return value_text(Text(expression.value.encode("latin-1"), expression.open_end))
    if isinstance(expression, Binary):
        return f"{expression_text(expression.left)}{expression.operator}{expression_text(expression.right)}"
    if isinstance(expression, Unary):
        return f"{expression.operator}{expression_text(expression.operand)}"
    if isinstance(expression, Call):
        return f"{expression.name}({', '.join([expression_text(item) for item in expression.arguments])})"
    if isinstance(expression, Array):
        return f"[{', '.join([expression_text(item) for item in expression.items])}]"
    parts: list[str] = []
    for member in expression.members:
        selector = f"({expression_text(member.selector)})" if member.selector is not None else ""
        start = f"{member.name}{selector}=" if member.name else ""
        parts.append(start + expression_text(member.value))
    return "{" + ", ".join(parts) + "}"
