"""Expressions have Linux's values on every machine; what a call left is compared with what the script says."""

from __future__ import annotations

import errno
import select
import socket
import sys

import pytest

from plankroad.packetdrill.constants import ERROR_NAMES, ERRORS, VALUES, error_name
from plankroad.packetdrill.errors import BadScriptError
from plankroad.packetdrill.expressions import (
    ANYTHING,
    Anything,
    Record,
    Text,
    Value,
    differences,
    evaluate,
    expression_text,
    number,
    value_text,
)
from plankroad.packetdrill.parser import parse_script
from plankroad.packetdrill.syntax import Expression, Syscall

pytestmark = pytest.mark.either


def expression(text: str) -> Expression:
    action = parse_script(f"0 f({text}) = 0", "t").events[0].action
    assert isinstance(action, Syscall)
    return action.arguments[0]


def value(text: str) -> Value:
    return evaluate(expression(text))


@pytest.mark.skipif(sys.platform != "linux", reason="the numbers are Linux's")
@pytest.mark.parametrize("module", [errno, socket, select], ids=lambda module: module.__name__)
def test_constants_are_those_of_linux(module: object) -> None:
    both = {name: got for name in VALUES if isinstance(got := getattr(module, name, None), int)}
    # Some are macros of several versions of one thing.
    both.pop("SOMAXCONN", None)
    assert len(both) > 20
    assert {name: int(got) & 0xFFFFFFFF for name, got in both.items()} == {name: VALUES[name] for name in both}


def test_errors_have_names() -> None:
    assert error_name(11) == "EAGAIN"
    assert error_name(95) == "EOPNOTSUPP"
    assert error_name(9999) == "error 9999"
    assert all(ERRORS[name] == code for code, name in ERROR_NAMES.items())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10", 10),
        ("-1", -1),
        ("0x10", 16),
        ("O_RDWR|O_NONBLOCK", 0x802),
        ("POLLIN|POLLOUT&POLLOUT", 5),
        ("6&3|8", 10),
        ("6^3", 5),
        ("1<<5", 32),
        ("256>>4", 16),
        ("~0", 0xFFFFFFFF),
        ("~O_RDWR & 0xff", 0xFD),
        ("-(1|2)", -3),
        ("NULL", 0),
        ("htons(8080)", 8080),
        ("EPOLLET", 1 << 31),
        ("...", ANYTHING),
        ('"a\\x00b"', Text(b"a\0b")),
        ('"a"...', Text(b"a", True)),
        ('inet_addr("10.0.0.1")', b"\x0a\0\0\1"),
        ('inet6_addr("::1")', bytes(15) + b"\1"),
        ("[1, SO_ERROR]", [1, 4]),
        ("{events=POLLIN, fd=3}", Record({"events": 1, "fd": 3})),
        ("{..., 1000}", Record(items=[ANYTHING, 1000])),
        (
            "{msg_iov(2)=[{..., 1}, {..., 2}]}",
            Record({"msg_iov": [Record(items=[ANYTHING, 1]), Record(items=[ANYTHING, 2])]}),
        ),
    ],
)
def test_values(text: str, expected: Value) -> None:
    assert value(text) == expected


def test_selectors_are_kept_apart() -> None:
    record = value("{msg_name(...)=1, msg_iov(2)=[]}")
    assert isinstance(record, Record)
    assert isinstance(record.selectors["msg_name"], Anything)
    assert record.selectors["msg_iov"] == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SO_NOTHING", 'found the name "SO_NOTHING", expected a constant that is known or a define'),
        ("A|1", 'found the name "A"'),
        ("foo(1)", 'found "foo(...)", expected htons'),
        ("htons(1, 2)", 'found "htons(...)"'),
        ("1<<64", "found a shift by 64"),
        ("1<<-1", "found a shift by -1"),
        ('"a"|1', 'found "a", expected a number'),
        ("[1]|1", "found [1], expected a number"),
        ('inet_addr("::1")', "expected an address of inet_addr"),
        ('inet_addr("nowhere")', "expected an address of inet_addr"),
        ("inet_addr(1)", "expected one address"),
        ("{a=1, a=2}", 'found a second "a"'),
    ],
)
def test_what_has_no_value_is_refused(text: str, message: str) -> None:
    with pytest.raises(BadScriptError) as error:
        value(text)
    assert message in str(error.value)
    assert str(error.value).startswith("t:1:")


def test_a_number_is_asked_for_where_one_must_be() -> None:
    assert number(expression("1|2")) == 3
    for text in ("...", "[1]", "{a=1}", '"a"'):
        with pytest.raises(BadScriptError, match="expected a number"):
            number(expression(text))


@pytest.mark.parametrize(
    ("expected", "actual"),
    [
        ("...", 5),
        ("1", 1),
        ('"abc"', b"abc"),
        ('"abc"', Text(b"abc")),
        ('"abc"...', b"abcdef"),
        ("[1, ...]", [1, 99]),
        ("{a=1, b=...}", Record({"a": 1, "c": 7})),
        ("{..., 5}", Record(items=[b"x", 5])),
        ("{a=[{b=1}]}", Record({"a": [Record({"b": 1})]})),
    ],
)
def test_what_is_expected_passes(expected: str, actual: Value) -> None:
    assert differences(value(expected), actual) == []


@pytest.mark.parametrize(
    ("expected", "actual", "wrong"),
    [
        ("1", 2, ["x: expected 1, got 2"]),
        ("1", Text(b"1"), ['x: expected 1, got "1"']),
        ("1", [1], ["x: expected 1, got [1]"]),
        ('"abc"', b"abcdef", ['x: expected "abc", got "abcdef"']),
        ('"abc"...', b"ab", ['x: expected "abc"..., got "ab"']),
        ('"abc"', 5, ['x: expected "abc", got 5']),
        ("[1, 2]", [1, 3], ["x[1]: expected 2, got 3"]),
        ("[1]", [1, 2], ["x: expected [1], got [1, 2]"]),
        ("[]", [1], ["x: expected [], got [1]"]),
        ("{a=1}", Record({"a": 2}), ["x.a: expected 1, got 2"]),
        ("{a=1}", Record({"b": 1}), ["x.a: expected 1, got nothing"]),
        ("{a=1}", 1, ["x: expected {a=1}, got 1"]),
        ("{..., 5}", Record(items=[b"x", 6]), ["x[1]: expected 5, got 6"]),
        ("{..., 5}", Record(items=[b"x"]), ['x: expected [..., 5], got ["x"]']),
        ("{a=[{b=1}, {b=2}]}", Record({"a": [Record({"b": 1}), Record({"b": 3})]}), ["x.a[1].b: expected 2, got 3"]),
        ("{a=1, b=2}", Record({"a": 0, "b": 0}), ["x.a: expected 1, got 0", "x.b: expected 2, got 0"]),
    ],
)
def test_what_differs_does_not_pass(expected: str, actual: Value, wrong: list[str]) -> None:
    assert differences(value(expected), actual, "x") == wrong


@pytest.mark.parametrize(
    "text",
    ["...", "-10", "0x802", "A|B", "~A", 'f("a\\x00", [1, ...])', "{a=1, b(2)=[], ...}", '"abc"...', "1<<2"],
)
def test_expressions_are_told_as_written(text: str) -> None:
    assert expression_text(expression(text)) == text


def test_long_values_are_cut_in_messages() -> None:
    assert value_text(b"x" * 1000) == '"' + "x" * 64 + '..."'
