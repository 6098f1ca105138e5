"""The words of a script: one regular expression, one token at a time, with a way to read raw text where a token is not
what the grammar is about (TCP flags such as `5.` or `SEW`, hexadecimal digits)."""

from __future__ import annotations

import re
from typing import Final

from plankroad.packetdrill.errors import BadScriptError
from plankroad.packetdrill.preprocess import Source
from plankroad.packetdrill.syntax import Location

# Kinds of token.
END: Final = "end of the script"
CODE: Final = "code"
COMMAND: Final = "command"
STRING: Final = "string"
HEX: Final = "hex"
FLOAT: Final = "float"
INT: Final = "int"
WORD: Final = "word"
PUNCTUATION: Final = "punctuation"

_TOKEN: Final = re.compile(
    r"""
    \s* (?:
      (?P<word> [A-Za-z_]\w* )
    | (?P<float> [0-9]*\.[0-9]+(?!\w) )
    | (?P<int> [0-9]+(?!\w) )
    | (?P<hex> 0x[0-9a-fA-F]+(?!\w) )
    | (?P<mixed> \w+ )
    | (?P<code> %\{.*?\}% )
    | (?P<command> `(?:\\.|[^`\\])*` )
    | (?P<string> "(?:\\[^\n]|[^"\\\n])*" )
    | (?P<punctuation> \.\.\. | << | >> | -> | \S )
    )
    """,
    re.VERBOSE | re.DOTALL | re.ASCII,
)
_ESCAPE: Final = re.compile(rb"\\(?:x([0-9a-fA-F]{1,2})|([0-7]{1,3})|(.))", re.DOTALL)
_ESCAPED: Final = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"a": b"\a", b"b": b"\b", b"f": b"\f", b"v": b"\v"}

#: No number of a script has more digits; a longer one is a mistake, or meant to cost time.
_MOST_DIGITS: Final = 24
_SHOWN: Final = 30


class Lexer:
    """The token at hand: `kind` and `text`, from `start` to `end` of `source.text`. `advance` goes to the next."""

    __slots__ = ("end", "kind", "last_end", "source", "start", "text")

    def __init__(self, source: Source) -> None:
        self.source = source
        self.kind = END
        self.text = ""
        self.start = 0
        self.end = 0
        #: Where the token before ended: what was read is `source.text[a : last_end]`.
        self.last_end = 0
        self.advance()

    def advance(self) -> None:
        self.last_end = self.end
        self._read(self.end)

    def _read(self, at: int) -> None:
        match = _TOKEN.match(self.source.text, at)
        if match is None:
            self.kind, self.text = END, ""
            self.start = self.end = len(self.source.text)
            return
        kind = match.lastgroup or PUNCTUATION
        # A word may begin with a digit too (hexadecimal digits do); only then is it not told at once.
        self.kind = WORD if kind == "mixed" else kind
        self.start, self.end = match.span(kind)
        self.text = match.group(kind)

    def where(self) -> Location:
        return self.source.where(self.start)

    def fail(self, expected: str) -> BadScriptError:
        """The error that the token at hand is not what is `expected`."""
        if self.kind == END:
            found = END
        else:
            found = self.text if len(self.text) <= _SHOWN else self.text[:_SHOWN] + "..."
            found = '"' + found.replace("\n", "\\n") + '"' if self.kind != STRING else found
        return BadScriptError(self.where(), f"found {found}, expected {expected}")

    def error(self, start: int, message: str) -> BadScriptError:
        """An error about the text at `start`."""
        return BadScriptError(self.source.where(start), message)

    def at(self, text: str) -> bool:
        """Whether the token at hand is the word or punctuation `text`."""
        return self.text == text and self.kind in {WORD, PUNCTUATION}

    def accept(self, text: str) -> bool:
        """Go past `text` if it is at hand."""
        if self.text == text and self.kind in {WORD, PUNCTUATION}:
            self.advance()
            return True
        return False

    def expect(self, text: str, what: str = "") -> None:
        if not self.accept(text):
            raise self.fail(what or f'"{text}"')

    def word(self, what: str) -> str:
        """Take the word at hand."""
        if self.kind != WORD:
            raise self.fail(what)
        text = self.text
        self.advance()
        return text

    def integer(self, what: str, most: int) -> int:
        """Take the number at hand, decimal or hexadecimal, 0 to `most`."""
        if self.kind not in {INT, HEX}:
            raise self.fail(what)
        value = self.number(self.text)
        if value > most:
            raise self.fail(f"{what}, at most {most}")
        self.advance()
        return value

    def number(self, text: str) -> int:
        """The value of an INT or HEX token's text."""
        if len(text) > _MOST_DIGITS:
            raise self.fail(f"a number of at most {_MOST_DIGITS} digits")
        return int(text[2:], 16) if text.startswith("0x") else int(text)

    def raw(self, pattern: re.Pattern[str]) -> str | None:
        """Take what `pattern` matches where the token at hand starts, whatever tokens it would be; None if nothing."""
        match = pattern.match(self.source.text, self.start)
        if match is None:
            return None
        self.end = match.end()
        self.advance()
        return match.group()


def unescape(text: str) -> str:
    """The bytes of a string token (with its quotes), one character each."""
    data = text[1:-1].encode("utf-8", "surrogatepass")
    return _ESCAPE.sub(_escape, data).decode("latin-1")


def _escape(match: re.Match[bytes]) -> bytes:
    hexadecimal, octal, letter = match.groups()
    if hexadecimal is not None:
        return bytes([int(hexadecimal, 16)])
    if octal is not None:
        return bytes([int(octal, 8) & 0xFF])
    return _ESCAPED.get(letter, letter)
