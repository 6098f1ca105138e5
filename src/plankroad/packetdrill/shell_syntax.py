"""Shell text to a tree: `parse` makes a `Program` of pipelines, commands and words. What it knows: see `shell`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from plankroad.packetdrill.errors import ShellError

OPERATORS: Final = (
    *("&>>", "&&", "||", ";;", "<<<", "<<", "&>", ">>", ">&", "<&", ";", "|", "&"),
    *("(", ")", "<", ">", "\n"),
)
_UNSUPPORTED: Final = ("for", "while", "until", "case", "function", "select", "[[", "coproc", "time")
_RESERVED: Final = ("if", "then", "elif", "else", "fi", "{", "}", "!")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

# A part of a word: (kind, text, quoted); kind is "text", "var", "arith" or "command".
Part = tuple[str, str, bool]


@dataclass
class Word:
    """A word before expansion."""

    parts: list[Part] = field(default_factory=list)

    def plain(self) -> str:
        """The word where nothing in it is quoted or expanded, else an empty string: for reserved words."""
        if len(self.parts) == 1 and self.parts[0][0] == "text" and not self.parts[0][2]:
            return self.parts[0][1]
        return ""


@dataclass
class Redirection:
    """`fd` is redirected by `operator` (`<`, `>`, `>>`, `>&`, `&>`, `&>>`) to or from `target`."""

    fd: int
    operator: str
    target: Word


@dataclass
class Simple:
    """A command with its words, or a group where `body` is set."""

    words: list[Word] = field(default_factory=list)
    redirections: list[Redirection] = field(default_factory=list)
    body: Program | None = None
    branches: list[tuple[Program, Program]] = field(default_factory=list)  # if and elif: condition, then
    otherwise: Program | None = None


@dataclass
class Pipeline:
    """Commands whose output is the next one's input; `negated` by `!`; `joined` to what is before by ;, && or ||."""

    commands: list[Simple]
    negated: bool = False
    joined: str = ";"


@dataclass
class Program:
    """Pipelines in order."""

    pipelines: list[Pipeline] = field(default_factory=list)


Token = Word | str | tuple[int, str]  # a word, an operator, or (descriptor, redirection operator)


class _Lexer:
    """Text to tokens."""

    def __init__(self, text: str) -> None:
        self.text = text.replace("\\\n", "")
        self.at = 0
        self.tokens: list[Token] = []

    def run(self) -> list[Token]:
        text = self.text
        while self.at < len(text):
            char = text[self.at]
            if char in " \t\r":
                self.at += 1
            elif char == "#":
                end = text.find("\n", self.at)
                self.at = len(text) if end < 0 else end
            elif (redirection := self._redirection()) is not None:
                self.tokens.append(redirection)
            elif (operator := self._operator()) is not None:
                self.tokens.append(operator)
            else:
                self.tokens.append(self._word())
        return self.tokens

    def _operator(self) -> str | None:
        for operator in OPERATORS:
            if self.text.startswith(operator, self.at):
                if operator in (";;", "<<", "<<<"):
                    raise ShellError(f"the shell's {operator} is not supported here")
                self.at += len(operator)
                return operator
        return None

    def _redirection(self) -> tuple[int, str] | None:
        match = re.compile(r"(\d*)(&>>|&>|>>|>&|>\||>|<&|<(?!<))").match(self.text, self.at)
        if match is None or (match.group(1) and match.group(2).startswith("&")):
            return None
        self.at = match.end()
        operator = ">" if match.group(2) == ">|" else match.group(2)
        default = 0 if operator.startswith("<") else 1
        return (int(match.group(1)) if match.group(1) else default, operator)

    def _word(self) -> Word:
        word = Word()
        text = self.text
        while self.at < len(text):
            char = text[self.at]
            if char in " \t\r\n;|&()<>":
                break
            if char == "'":
                end = text.find("'", self.at + 1)
                if end < 0:
                    raise ShellError("a single quote is not closed")
                word.parts.append(("text", text[self.at + 1 : end], True))
                self.at = end + 1
            elif char == '"':
                self.at += 1
                self._quoted(word)
            elif char == "\\":
                word.parts.append(("text", text[self.at + 1 : self.at + 2], True))
                self.at += 2
            elif char == "$":
                self._dollar(word, False)
            elif char == "`":
                raise ShellError("a backtick inside of a command is not supported here; use $(...)")
            elif char in "*?" or (char == "[" and self._is_pattern()):
                raise ShellError(f"the shell's pattern {char!r} is not supported here; quote it if it is text")
            else:
                if word.parts and word.parts[-1][0] == "text" and not word.parts[-1][2]:
                    kind, before, quoted = word.parts.pop()
                    word.parts.append((kind, before + char, quoted))
                else:
                    word.parts.append(("text", char, False))
                self.at += 1
        return word

    def _is_pattern(self) -> bool:
        """`[` by itself is the command, `[[` is refused later; with more in the same word it is a pattern."""
        rest = re.compile(r"\[+(?=[\s;|&]|$)").match(self.text, self.at)
        return rest is None

    def _quoted(self, word: Word) -> None:
        text = self.text
        out = ""
        start = len(word.parts)
        while True:
            if self.at >= len(text):
                raise ShellError("a double quote is not closed")
            char = text[self.at]
            if char == '"':
                self.at += 1
                break
            if char == "\\" and self.at + 1 < len(text) and text[self.at + 1] in '"\\$`':
                out += text[self.at + 1]
                self.at += 2
            elif char == "$":
                if out:
                    word.parts.append(("text", out, True))
                    out = ""
                self._dollar(word, True)
            else:
                out += char
                self.at += 1
        if out or len(word.parts) == start:
            word.parts.append(("text", out, True))

    def _dollar(self, word: Word, quoted: bool) -> None:
        text = self.text
        if text.startswith("$((", self.at):
            end = self._closing(self.at + 1)
            if text[end - 1] != ")":
                raise ShellError("$(( is not closed by ))")
            word.parts.append(("arith", text[self.at + 3 : end - 1], quoted))
            self.at = end + 1
        elif text.startswith("$(", self.at):
            end = self._closing(self.at + 1)
            word.parts.append(("command", text[self.at + 2 : end], quoted))
            self.at = end + 1
        elif text.startswith("${", self.at):
            end = text.find("}", self.at)
            name = text[self.at + 2 : end] if end > 0 else ""
            if not _NAME.fullmatch(name):
                raise ShellError(f"${{{name}}} is not supported here; a name is")
            word.parts.append(("var", name, quoted))
            self.at = end + 1
        else:
            match = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|[?$#@0-9]").match(text, self.at + 1)
            if match is None:
                word.parts.append(("text", "$", quoted))
                self.at += 1
                return
            word.parts.append(("var", match.group(), quoted))
            self.at = match.end()

    def _closing(self, at: int) -> int:
        """Where the parenthesis at `at` is closed."""
        depth = 0
        for i in range(at, len(self.text)):
            if self.text[i] == "(":
                depth += 1
            elif self.text[i] == ")":
                depth -= 1
                if depth == 0:
                    return i
        raise ShellError("a parenthesis is not closed")


class _Parser:
    """Tokens to a `Program`."""

    def __init__(self, tokens: list[Token]) -> None:
        self.tokens = tokens
        self.at = 0

    def peek(self) -> Token | None:
        return self.tokens[self.at] if self.at < len(self.tokens) else None

    def reserved(self) -> str:
        token = self.peek()
        return token.plain() if isinstance(token, Word) else ""

    def program(self, until: tuple[str, ...] = ()) -> Program:
        """Pipelines up to the end, or to a reserved word or operator of `until`."""
        program = Program()
        joined = ";"
        while True:
            token = self.peek()
            if token is None:
                if until:
                    raise ShellError(f"the shell text ends where {' or '.join(until)} is expected")
                return program
            if token in (";", "\n"):
                self.at += 1
                if joined == ";":
                    continue
                if token == "\n":
                    continue
                raise ShellError(f"nothing stands between {joined} and ;")
            if token == "&":
                raise ShellError("the shell's & (in the background) is not supported here")
            if (isinstance(token, str) and token in until) or (self.reserved() and self.reserved() in until):
                if joined != ";":
                    raise ShellError(f"nothing follows {joined}")
                return program
            pipeline = self.pipeline()
            pipeline.joined = joined
            program.pipelines.append(pipeline)
            joined = ";"
            token = self.peek()
            if token in ("&&", "||"):
                joined = str(token)
                self.at += 1
                if self.at >= len(self.tokens):
                    raise ShellError(f"nothing follows {joined}")

    def pipeline(self) -> Pipeline:
        negated = False
        while self.reserved() == "!":
            negated = not negated
            self.at += 1
        commands = [self.command()]
        while self.peek() == "|":
            self.at += 1
            while self.peek() == "\n":
                self.at += 1
            commands.append(self.command())
        return Pipeline(commands, negated)

    def command(self) -> Simple:
        word = self.reserved()
        command = Simple()
        if self.peek() == "(":
            self.at += 1
            command.body = self.program((")",))
            self.at += 1
        elif word == "{":
            self.at += 1
            command.body = self.program(("}",))
            self.at += 1
        elif word == "if":
            self._conditional(command)
        elif word in _UNSUPPORTED:
            raise ShellError(f"the shell's {word!r} is not supported here")
        elif word in _RESERVED and word != "!":
            raise ShellError(f"the shell's {word!r} stands where a command is expected")
        grouped = command.body is not None or bool(command.branches)
        while True:
            token = self.peek()
            if isinstance(token, tuple):
                self.at += 1
                target = self.peek()
                if not isinstance(target, Word):
                    raise ShellError(f"a file name is expected after {token[1]}")
                self.at += 1
                command.redirections.append(Redirection(token[0], token[1], target))
            elif isinstance(token, Word) and not grouped:
                command.words.append(token)
                self.at += 1
            elif token == "(" and command.words:
                raise ShellError("shell functions are not supported here")
            else:
                break
        if not grouped and not command.words and not command.redirections:
            raise ShellError(f"a command is expected before {_show(self.peek())}")
        return command

    def _conditional(self, command: Simple) -> None:
        word = "if"
        while word in ("if", "elif"):
            self.at += 1
            condition = self.program(("then",))
            self.at += 1
            body = self.program(("elif", "else", "fi"))
            command.branches.append((condition, body))
            word = self.reserved()
        if word == "else":
            self.at += 1
            command.otherwise = self.program(("fi",))
        self.at += 1


def _show(token: Token | None) -> str:
    if token is None:
        return "the end"
    if token == "\n":
        return "the end of the line"
    return str(token)


def parse(text: str) -> Program:
    """The program that `text` is. Raises ShellError for what the reader does not know."""
    return _Parser(_Lexer(text).run()).program()
