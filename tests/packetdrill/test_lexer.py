"""The words of scripts, and where they are."""

from __future__ import annotations

import pytest

from plankroad.packetdrill.lexer import (
    CODE,
    COMMAND,
    END,
    FLOAT,
    HEX,
    INT,
    PUNCTUATION,
    STRING,
    WORD,
    Lexer,
    unescape,
)
from plankroad.packetdrill.preprocess import preprocess

pytestmark = pytest.mark.either


def tokens(text: str) -> list[tuple[str, str]]:
    lex = Lexer(preprocess(text, "t"))
    found: list[tuple[str, str]] = []
    while lex.kind != END:
        found.append((lex.kind, lex.text))
        lex.advance()
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10", [(INT, "10")]),
        ("0x1f", [(HEX, "0x1f")]),
        ("0.5 .5", [(FLOAT, "0.5"), (FLOAT, ".5")]),
        ("0.1...0.2", [(FLOAT, "0.1"), (PUNCTUATION, "..."), (FLOAT, "0.2")]),
        ("1...2", [(INT, "1"), (PUNCTUATION, "..."), (INT, "2")]),
        ("0....2", [(INT, "0"), (PUNCTUATION, "..."), (FLOAT, ".2")]),
        ("+.1~+2", [(PUNCTUATION, "+"), (FLOAT, ".1"), (PUNCTUATION, "~"), (PUNCTUATION, "+"), (INT, "2")]),
        ("12ab 0e1", [(WORD, "12ab"), (WORD, "0e1")]),
        ("A_1 b", [(WORD, "A_1"), (WORD, "b")]),
        ("1:2(3)", [(INT, "1"), (PUNCTUATION, ":"), (INT, "2"), (PUNCTUATION, "("), (INT, "3"), (PUNCTUATION, ")")]),
        ('"a b\\"" `c\nd` %{ e } }%', [(STRING, '"a b\\""'), (COMMAND, "`c\nd`"), (CODE, "%{ e } }%")]),
        ("a<<b", [(WORD, "a"), (PUNCTUATION, "<<"), (WORD, "b")]),
        ("a // b\nc /* d\n e */ f", [(WORD, "a"), (WORD, "c"), (WORD, "f")]),
        ('"// no" `/* no */`', [(STRING, '"// no"'), (COMMAND, "`/* no */`")]),
        ("  \n\t ", []),
        ("a\r\nb", [(WORD, "a"), (WORD, "b")]),
    ],
)
def test_tokens(text: str, expected: list[tuple[str, str]]) -> None:
    assert tokens(text) == expected


def test_places() -> None:
    lex = Lexer(preprocess("a /* x\n */ b\n\n  c", "file.pkt"))
    places = []
    while lex.kind != END:
        places.append(str(lex.where()))
        lex.advance()
    assert places == ["file.pkt:1:1", "file.pkt:2:5", "file.pkt:4:3"]
    assert str(lex.where()) == "file.pkt:4:4"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('""', ""),
        ('"ab"', "ab"),
        (r'"\x41\x4"', "A\x04"),
        (r'"\0\12\377\777"', "\0\n\xff\xff"),
        (r'"\n\t\\\"\q"', '\n\t\\"q'),
        ('"é"', "\xc3\xa9"),
    ],
)
def test_strings(text: str, expected: str) -> None:
    assert unescape(text) == expected
