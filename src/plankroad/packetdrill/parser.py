"""A script's text as a `Script`: options, events with their times, system calls, commands, code.

    script = parse_script(text, "a.pkt", {"MSS": "1460"})

Recursive descent over `lexer.Lexer`; packets are in `packet_parser.py`. What is wrong with the text raises
BadScriptError, which says where, what was found and what would have been right; nothing else is raised.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from plankroad.packetdrill.errors import BadScriptError
from plankroad.packetdrill.lexer import CODE, COMMAND, END, FLOAT, HEX, INT, STRING, WORD, Lexer, unescape
from plankroad.packetdrill.packet_parser import parse_packet
from plankroad.packetdrill.preprocess import preprocess
from plankroad.packetdrill.syntax import (
    ABSOLUTE,
    ABSOLUTE_RANGE,
    ANY,
    RELATIVE,
    RELATIVE_RANGE,
    Action,
    Array,
    Binary,
    Call,
    Code,
    Command,
    Event,
    EventTime,
    Expression,
    Integer,
    Location,
    Member,
    Option,
    Script,
    String,
    Struct,
    Symbol,
    Syscall,
    Unary,
    Wild,
)

_OPTION: Final = re.compile(r"--([A-Za-z0-9_]*)(?:=(\"[^\"\n]*\"|\S*))?", re.ASCII)
_NOTE: Final = re.compile(r"\(([^()\n]*)\)")
_MOST_DEPTH: Final = 40
#: Binary operators by how tightly they bind, as in C.
_PRECEDENCE: Final = {"|": 1, "^": 2, "&": 3, "<<": 4, ">>": 4}
_TIME: Final = "a time (0.1, +.1, 0.1~0.2, +.1~+.2 or *)"
_ACTION: Final = "a packet (< or >), a system call, a `command` or %{ code }%"
_MOST_SECONDS: Final = 10**9


def parse_file(path: str, defines: Mapping[str, str] | None = None) -> Script:
    """The script in the file at `path`. Raises BadScriptError, OSError."""
    data = Path(path).read_bytes()
    return parse_script(data.decode("utf-8", "replace"), path, defines)


def parse_script(text: str, file: str = "script", defines: Mapping[str, str] | None = None) -> Script:
    """The script `text`; `file` names it in errors, `defines` are the command line's. Raises BadScriptError."""
    source = preprocess(text, file, defines)
    lex = Lexer(source)
    script = Script(file, _options(lex), [], [], [], source.defines)
    while lex.kind != END:
        if lex.kind == COMMAND:
            (script.cleanup if script.events else script.init).append(_command(lex))
            continue
        if script.cleanup:
            raise lex.fail("the end of the script after a command without a time")
        script.events.append(_event(lex))
    return script


def _options(lex: Lexer) -> list[Option]:
    """The `--name=value` lines."""
    options: list[Option] = []
    while lex.source.text.startswith("--", lex.start):
        where = lex.where()
        text = lex.raw(_OPTION) or ""
        name, _, value = text[2:].partition("=")
        if not name:
            raise BadScriptError(where, f'found "{text}", expected an option --name or --name=value')
        if name == "define":
            if value.partition("=")[0] not in lex.source.defines:
                raise BadScriptError(where, f'found "{text}", expected --define=NAME=text')
            continue
        options.append(Option(name, value.strip('"'), where))
    return options


def _command(lex: Lexer) -> Command:
    command = Command(lex.text[1:-1], lex.where())
    lex.advance()
    return command


def _event(lex: Lexer) -> Event:
    where = lex.where()
    time = _event_time(lex)
    return Event(time, _action(lex, time), where)


def _event_time(lex: Lexer) -> EventTime:
    if lex.accept("*"):
        return EventTime(ANY, 0, 0)
    relative = lex.accept("+")
    start = _time(lex, "a time in seconds" if relative else _TIME)
    if not lex.accept("~"):
        return EventTime(RELATIVE if relative else ABSOLUTE, start, start)
    if relative and not lex.at("+"):
        raise lex.fail('"+" before the end of a relative range of time')
    if not relative and lex.at("+"):
        raise lex.fail("a time in seconds without +, as the start of the range has none")
    lex.accept("+")
    at = lex.start
    end = _time(lex, "a time in seconds")
    if end < start:
        raise lex.error(at, "found a range of time that ends before it starts")
    return EventTime(RELATIVE_RANGE if relative else ABSOLUTE_RANGE, start, end)


def _time(lex: Lexer, what: str) -> int:
    """Seconds as nanoseconds."""
    if lex.kind not in {FLOAT, INT}:
        raise lex.fail(what)
    whole, _, fraction = lex.text.partition(".")
    if len(whole) > 10 or len(fraction) > 20 or int(whole or "0") > _MOST_SECONDS:
        raise lex.fail(f"a time of at most {_MOST_SECONDS} seconds and 20 digits of a fraction")
    value = int(whole or "0") * 10**9 + int(fraction[:9].ljust(9, "0"))
    lex.advance()
    return value


def _action(lex: Lexer, time: EventTime) -> Action:
    if lex.at("<") or lex.at(">"):
        return parse_packet(lex)
    if lex.kind == COMMAND:
        return _command(lex)
    if lex.kind == CODE:
        code = Code(lex.text[2:-2], lex.where())
        lex.advance()
        return code
    if lex.kind == WORD or lex.at("..."):
        return _syscall(lex, time)
    raise lex.fail(_ACTION)


def _syscall(lex: Lexer, time: EventTime) -> Syscall:
    end: int | None = None
    if lex.at("..."):
        if time.kind not in {ABSOLUTE, RELATIVE}:
            raise lex.fail("a system call that returns at once: its time is a range or *")
        lex.advance()
        lex.accept("+")
        at = lex.start
        end = _time(lex, "the time when the system call returns")
        if end < time.start:
            raise lex.error(at, "found a system call that returns before it begins")
    start = lex.start
    where = lex.where()
    if lex.kind != WORD:
        raise lex.fail("the name of a system call")
    if lex.text in {"icmp", "udp"}:
        raise lex.fail("< or > before a packet")
    name = lex.text
    lex.advance()
    if not lex.at("("):
        raise lex.error(start, f'found "{name[:30]}", expected {_ACTION}')
    arguments = _arguments(lex)
    lex.expect("=", '"=" and the result of the system call')
    result = _expression(lex, 0)
    errno = ""
    if lex.kind == WORD:
        errno = lex.text
        if not re.fullmatch(r"E[A-Z0-9]+", errno):
            raise lex.fail("the name of an error (such as EAGAIN), a note in parentheses, or the next event")
        lex.advance()
    note = ""
    if lex.at("("):
        text = lex.raw(_NOTE)
        if text is None:
            raise lex.fail("a note that ends with ) in the same line")
        note = text[1:-1]
    text = " ".join(lex.source.text[start : lex.last_end].split())
    return Syscall(name, arguments, result, errno, note, end, text, where)


def _arguments(lex: Lexer) -> list[Expression]:
    lex.expect("(")
    arguments: list[Expression] = []
    if lex.accept(")"):
        return arguments
    while True:
        arguments.append(_expression(lex, 0))
        if lex.accept(")"):
            return arguments
        lex.expect(",", '"," or ")" after an argument')


def _expression(lex: Lexer, depth: int, least: int = 0) -> Expression:
    if depth > _MOST_DEPTH:
        raise lex.fail(f"at most {_MOST_DEPTH} expressions in one another")
    left = _operand(lex, depth)
    while True:
        operator = lex.text
        binds = _PRECEDENCE.get(operator, 0)
        if binds <= least or lex.kind == STRING:
            return left
        where = lex.where()
        lex.advance()
        left = Binary(operator, left, _expression(lex, depth + 1, binds), where)


def _operand(lex: Lexer, depth: int) -> Expression:
    where = lex.where()
    if lex.accept("..."):
        return Wild(where)
    if lex.kind == STRING:
        value = unescape(lex.text)
        lex.advance()
        return String(value, lex.accept("..."), where)
    if lex.kind in {INT, HEX}:
        return _integer(lex, "", where)
    if lex.at("-") or lex.at("~"):
        sign = lex.text
        lex.advance()
        if sign == "-" and lex.kind in {INT, HEX}:
            return _integer(lex, "-", where)
        if depth > _MOST_DEPTH:
            raise lex.fail(f"at most {_MOST_DEPTH} expressions in one another")
        return Unary(sign, _operand(lex, depth + 1), where)
    if lex.accept("("):
        inner = _expression(lex, depth + 1)
        lex.expect(")")
        return inner
    if lex.kind == WORD:
        name = lex.text
        lex.advance()
        if lex.at("("):
            return Call(name, _list(lex, "(", ")", depth), where)
        return Symbol(name, where)
    if lex.at("["):
        return Array(_list(lex, "[", "]", depth), where)
    if lex.at("{"):
        return _struct(lex, depth)
    raise lex.fail("a value (..., a number, a name, a string, [...] or {...})")


def _integer(lex: Lexer, sign: str, where: Location) -> Integer:
    text = lex.text
    value = lex.number(text)
    lex.advance()
    return Integer(-value if sign else value, sign + text, where)


def _list(lex: Lexer, start: str, end: str, depth: int) -> list[Expression]:
    lex.expect(start)
    items: list[Expression] = []
    if lex.accept(end):
        return items
    while True:
        items.append(_expression(lex, depth + 1))
        if lex.accept(end):
            return items
        lex.expect(",", f'"," or "{end}" after a value')


def _struct(lex: Lexer, depth: int) -> Struct:
    where = lex.where()
    lex.expect("{")
    members: list[Member] = []
    if lex.accept("}"):
        return Struct(members, where)
    while True:
        members.append(_member(lex, depth + 1))
        if lex.accept("}"):
            return Struct(members, where)
        lex.expect(",", '"," or "}" after a member')


def _member(lex: Lexer, depth: int) -> Member:
    """`name=value`, `name(selector)=value`, or a value."""
    where = lex.where()
    value = _expression(lex, depth)
    if not lex.at("="):
        return Member("", value, None, where)
    selector: Expression | None = None
    if isinstance(value, Symbol):
        name = value.name
    elif isinstance(value, Call) and len(value.arguments) == 1:
        name = value.name
        selector = value.arguments[0]
    else:
        raise lex.fail('"," or "}" after a value')
    lex.advance()
    return Member(name, _expression(lex, depth), selector, where)
