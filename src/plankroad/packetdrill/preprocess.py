"""From a script's file to the text that the parser reads: comments blanked, `#` lines carried out, names replaced.

A line whose first character is `#` is a directive:

    #define NAME text        NAME, where it stands as a word, becomes text from here on
    #undef NAME
    #ifdef NAME / #ifndef NAME / #else / #endif

A name given on the command line (`--define NAME=text`) or by a script's own `--define=NAME=text` holds from the start;
`#define` of it is overruled, so a script can have a default that a run changes. Nothing is replaced inside of strings,
commands, code and the `--` lines. The text of a define is replaced in when it is read, so it cannot name itself.

Every character keeps its line, and the `Source` knows where each came from.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Mapping, Set
from typing import Final

from plankroad.packetdrill.errors import BadScriptError
from plankroad.packetdrill.syntax import Location

#: What is looked at; a script's names come between. All else is the parser's.
_BEFORE_NAMES: Final = r"""
      (?P<comment> //[^\n]* | /\*.*?\*/ )
    | (?P<keep> "(?:\\[^\n]|[^"\\\n])*" | `(?:\\.|[^`\\])*` | %\{.*?\}% )
    | (?P<directive> ^[ \t]*\#[^\n]* )
    | (?P<option> ^[ \t]*--[^\s"]*(?:"[^"\n]*")?\S* )
"""
_AFTER_NAMES: Final = r"""
    | (?P<open> " | ` | %\{ | /\* )
"""
_FLAGS: Final = re.VERBOSE | re.DOTALL | re.MULTILINE | re.ASCII
_NAMED: Final = re.compile(
    r"^[ \t]*(?:#[ \t]*define[ \t]+|--define=)([A-Za-z_][A-Za-z0-9_]*)", re.MULTILINE | re.ASCII
)
_DIRECTIVE: Final = re.compile(r"[ \t]*#[ \t]*([A-Za-z]*)(?:[ \t]+(.*))?", re.ASCII | re.DOTALL)
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_DEFINE_OPTION: Final = re.compile(r"[ \t]*--define=([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.ASCII)
_WORD: Final = re.compile(r"[A-Za-z0-9_]+", re.ASCII)
_NOT_NEWLINE: Final = re.compile(r"[^\n]")

_UNCLOSED: Final = {
    '"': ("string", '"'),
    "`": ("command", "`"),
    "%{": ("code", "}%"),
    "/*": ("comment", "*/"),
}

#: The text of one define, and of a script with all of them replaced, may have so many characters.
_MOST_DEFINED: Final = 4096
_MOST_EXPANDED: Final = 64 << 20
_MOST_NESTED: Final = 40


class Source:
    """The text to parse, and where each character of it came from.

    `text` has the comments and directives blanked and the defines replaced; `defines` are all that were in force.
    """

    __slots__ = ("_from", "_lines", "_to", "defines", "file", "text")

    def __init__(self, file: str, original: str) -> None:
        self.file = file
        self.text = original
        self.defines: dict[str, str] = {}
        self._lines: list[int] = [0]
        at = original.find("\n")
        while at >= 0:
            self._lines.append(at + 1)
            at = original.find("\n", at + 1)
        # Where a replacement begins or has ended: offsets in `text`, and in the original.
        self._to: list[int] = [0]
        self._from: list[int] = [0]

    def where(self, offset: int) -> Location:
        """The place in the file of the character at `offset` of `text`; in a replaced word it is the word's."""
        run = bisect_right(self._to, offset) - 1
        original = self._from[run] + offset - self._to[run]
        if run + 1 < len(self._from):
            original = min(original, self._from[run + 1] - 1)
        return self._place(original)

    def _place(self, original: int) -> Location:
        line = bisect_right(self._lines, original)
        return Location(self.file, line, original - self._lines[line - 1] + 1)

    def replaced(self, offset: int, start: int, end: int, text: str) -> str:
        """Note that from `offset` of `self.text` on there is `text` for the characters from `start` to `end`."""
        self._to += (offset, offset + len(text))
        self._from += (start, end)
        return text

    def fail(self, original: int, message: str) -> BadScriptError:
        """An error about a place in the file."""
        return BadScriptError(self._place(original), message)


def preprocess(text: str, file: str, defines: Mapping[str, str] | None = None) -> Source:
    """`text` of the script `file`, ready for the parser. Raises BadScriptError."""
    text = text.replace("\r\n", "\n")
    source = Source(file, text)
    given = dict(defines or {})
    known: dict[str, str] = dict(given)
    source.defines = dict(given)
    out: list[str] = []
    length = done = 0
    # One entry for each #ifdef that is open: where, whether its part is read, whether an #else was seen.
    stack: list[list[int]] = []
    active = True
    for piece in _pieces(given.keys() | set(_NAMED.findall(text))).finditer(text):
        between = text[done : piece.start()]
        out.append(between if active else _blank(between))
        length += len(between)
        done = piece.end()
        kind = piece.lastgroup
        found = piece.group()
        if kind == "open":
            what, end = _UNCLOSED[found]
            raise source.fail(piece.start(), f"found the start of a {what}, expected its end {end}")
        if kind == "directive":
            active = _direct(source, piece.start(), found, stack, known, given)
            found = _blank(found)
        elif kind == "comment" or not active:
            found = _blank(found)
        elif kind == "option":
            define = _DEFINE_OPTION.fullmatch(found)
            if define is not None:
                name, value = define.groups()
                if name not in given:
                    known[name] = source.defines[name] = value.strip('"')
        elif kind == "word" and found in known:
            found = source.replaced(length, piece.start(), piece.end(), known[found])
        out.append(found)
        length += len(found)
        if length > _MOST_EXPANDED:
            raise source.fail(piece.start(), "the script with its defines replaced is too long")
    if stack:
        raise source.fail(stack[-1][0], "found no #endif for this line, expected one")
    out.append(text[done:])
    source.text = "".join(out)
    return source


def _pieces(names: Set[str]) -> re.Pattern[str]:
    """What `preprocess` looks at in a script that defines `names`."""
    words = ""
    if names:
        either = "|".join(map(re.escape, sorted(names)))
        words = rf"| (?P<word> (?<!\w) (?: {either} ) (?!\w) )"
    return re.compile(_BEFORE_NAMES + words + _AFTER_NAMES, _FLAGS)


def _blank(text: str) -> str:
    return _NOT_NEWLINE.sub(" ", text)


def _direct(
    source: Source, at: int, line: str, stack: list[list[int]], known: dict[str, str], given: dict[str, str]
) -> bool:
    """Carry out the directive `line`; whether what follows is read."""
    match = _DIRECTIVE.fullmatch(line)
    name, rest = match.groups() if match is not None else ("", None)
    rest = re.sub(r"//.*|/\*.*?\*/", "", rest or "").strip()
    active = all(entry[1] for entry in stack)
    if name in {"ifdef", "ifndef"}:
        if _NAME.fullmatch(rest) is None:
            raise source.fail(at, f"found {rest!r} after #{name}, expected one name")
        if len(stack) >= _MOST_NESTED:
            raise source.fail(at, f"found #{name}, expected at most {_MOST_NESTED} of them in one another")
        stack.append([at, int((rest in known) == (name == "ifdef")), 0])
    elif name in {"else", "endif"}:
        if not stack:
            raise source.fail(at, f"found #{name}, expected an #ifdef or #ifndef before it")
        if name == "endif":
            stack.pop()
        else:
            if stack[-1][2]:
                raise source.fail(at, "found a second #else, expected #endif")
            stack[-1][1:] = [int(not stack[-1][1]), 1]
    elif name in {"define", "undef"}:
        if active:
            _define(source, at, name, rest, known, given)
    else:
        found = f"#{name}" if name else "#"
        raise source.fail(at, f"found {found}, expected #define, #undef, #ifdef, #ifndef, #else or #endif")
    return all(entry[1] for entry in stack)


def _define(source: Source, at: int, directive: str, rest: str, known: dict[str, str], given: dict[str, str]) -> None:
    match = _NAME.match(rest)
    if match is None:
        raise source.fail(at, f"found {rest!r} after #{directive}, expected a name")
    name, text = match.group(), rest[match.end() :]
    if text and not text[0].isspace():
        raise source.fail(at, f"found {text[0]!r} after the name {name}, expected a space and the text")
    if directive == "undef":
        if text.strip():
            raise source.fail(at, f"found {text.strip()!r} after the name {name}, expected nothing")
        if name not in given:
            known.pop(name, None)
        return
    if name in given:
        return
    text = _WORD.sub(lambda word: known.get(word.group(), word.group()), text.strip())
    if len(text) > _MOST_DEFINED:
        raise source.fail(at, f"found a define of {len(text)} characters, expected at most {_MOST_DEFINED}")
    known[name] = text
    source.defines[name] = text
