"""A small reader of shell text: what stands between backticks in a script, and the files that it names.

It knows words, quotes, `$NAME`, `${NAME}`, `$((...))`, `$(...)`, comments, `;`, `&&`, `||`, `!`, pipes, groups, `if`,
assignments and redirections. That is what the public scripts use; the rest of the language (loops, functions, patterns,
here-documents) is refused by name, never taken for something else.

`parse` makes a `Program` of text, `Interpreter` runs it. What a command does is not known here: the interpreter asks
`Interpreter.execute`, which `commands` fills in.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

OPERATORS: Final = (
    *("&>>", "&&", "||", ";;", "<<<", "<<", "&>", ">>", ">&", "<&", ";", "|", "&"),
    *("(", ")", "<", ">", "\n"),
)
_UNSUPPORTED: Final = ("for", "while", "until", "case", "function", "select", "[[", "coproc", "time")
_RESERVED: Final = ("if", "then", "elif", "else", "fi", "{", "}", "!")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ASSIGNMENT: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")
#: A script that sources itself ends here.
_DEEPEST: Final = 16


class ShellError(Exception):
    """Shell text that can't be read or a command that can't be carried out; one line that says what it is."""


@dataclass
class Result:
    """What a command did: its exit status, and what it wrote."""

    status: int = 0
    out: str = ""
    err: str = ""


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


class Interpreter:
    """Runs programs. `execute(words, stdin)` carries a command out; `read`, `write` are the files redirections name.

    `variables` are the shell's; `arguments` those of the script that is being read; `status` of the last command.
    """

    def __init__(
        self,
        execute: Callable[[list[str], str], Result],
        read: Callable[[str], str],
        write: Callable[[str, str, bool], None],
    ) -> None:
        self.execute = execute
        self.read = read
        self.write = write
        self.variables: dict[str, str] = {}
        self.arguments: list[str] = []
        self.status = 0
        self.depth = 0

    def run_text(self, text: str) -> Result:
        """Read and run `text`. Its status is that of its last command."""
        if self.depth >= _DEEPEST:
            raise ShellError("shell scripts call each other without end")
        self.depth += 1
        try:
            return self.run(parse(text), "")
        finally:
            self.depth -= 1

    def run(self, program: Program, stdin: str) -> Result:
        """Run a program; what its commands write is put together."""
        total = Result()
        self.status = 0
        for pipeline in program.pipelines:
            if pipeline.joined == "&&" and self.status != 0:
                continue
            if pipeline.joined == "||" and self.status == 0:
                continue
            result = self._pipeline(pipeline, stdin)
            total.out += result.out
            total.err += result.err
            self.status = result.status
        total.status = self.status
        return total

    def _pipeline(self, pipeline: Pipeline, stdin: str) -> Result:
        err = ""
        result = Result()
        for command in pipeline.commands:
            result = self._simple(command, stdin)
            err += result.err
            stdin = result.out
        status = result.status
        if pipeline.negated:
            status = 0 if status else 1
        return Result(status, result.out, err)

    def _simple(self, command: Simple, stdin: str) -> Result:
        for redirection in command.redirections:
            if redirection.operator == "<":
                stdin = self.read(self._one(redirection.target))
        if command.body is not None:
            result = self.run(command.body, stdin)
        elif command.branches:
            result = self._conditional(command, stdin)
        else:
            result = self._words(command, stdin)
        return self._redirect(command, result)

    def _conditional(self, command: Simple, stdin: str) -> Result:
        total = Result()
        chosen = command.otherwise
        for condition, body in command.branches:
            told = self.run(condition, stdin)
            total.out += told.out
            total.err += told.err
            if told.status == 0:
                chosen = body
                break
        if chosen is not None:
            result = self.run(chosen, stdin)
            total.out += result.out
            total.err += result.err
            total.status = result.status
        return total

    def _words(self, command: Simple, stdin: str) -> Result:
        words = list(command.words)
        assigned: dict[str, str] = {}
        while words and words[0].parts and words[0].parts[0][0] == "text" and not words[0].parts[0][2]:
            match = _ASSIGNMENT.match(words[0].parts[0][1])
            if match is None:
                break
            first = words.pop(0)
            rest = Word([("text", first.parts[0][1][match.end() :], False), *first.parts[1:]])
            assigned[match.group()[:-1]] = self._one(rest)
        if not words:
            self.variables.update(assigned)
            return Result()
        expanded: list[str] = []
        for word in words:
            expanded.extend(self._expand(word))
        if not expanded:
            return Result()
        before = dict(self.variables)
        self.variables.update(assigned)
        result = self.execute(expanded, stdin)
        for name in assigned:
            if name in before:
                self.variables[name] = before[name]
            else:
                self.variables.pop(name, None)
        return result

    def _redirect(self, command: Simple, result: Result) -> Result:
        """Where each descriptor leads, in the order of the redirections; then what was written goes there."""
        # Where to: "" is passed on as the descriptor's own, else the name of a file.
        sinks: dict[int, tuple[str, bool]] = {1: ("1", False), 2: ("2", False)}
        opened: list[str] = []
        for redirection in command.redirections:
            operator = redirection.operator
            if operator == "<":
                continue
            if operator == "<&":
                raise ShellError("the shell's <& is not supported here")
            target = self._one(redirection.target)
            if operator == ">&" and target.isdigit():
                if int(target) not in sinks or redirection.fd not in (1, 2):
                    raise ShellError(f"there is no descriptor {target} to redirect to")
                sinks[redirection.fd] = sinks[int(target)]
                continue
            append = operator.endswith(">>")
            if not append and target not in opened:
                self.write(target, "", False)
            opened.append(target)
            both = operator in ("&>", "&>>", ">&")
            for fd in (1, 2) if both else (redirection.fd,):
                if fd not in (1, 2):
                    raise ShellError(f"there is no descriptor {fd} to redirect")
                sinks[fd] = (target, True)
        final = Result(result.status)
        for fd, text in ((1, result.out), (2, result.err)):
            sink, is_file = sinks[fd]
            if is_file:
                if text:
                    self.write(sink, text, True)
            elif sink == "1":
                final.out += text
            else:
                final.err += text
        return final

    def _one(self, word: Word) -> str:
        """A word where exactly one is expected: no splitting."""
        return "".join(self._part(part) for part in word.parts)

    def _expand(self, word: Word) -> list[str]:
        """The words that a word becomes: what an unquoted expansion yields is split at blanks."""
        out: list[str] = []
        current = ""
        open_word = False
        for part in word.parts:
            kind, _, quoted = part
            text = self._part(part)
            if kind == "text" or quoted or kind == "arith":
                current += text
                open_word = True
                continue
            pieces = text.split()
            if not pieces:
                continue
            if text[0].isspace() and open_word:
                out.append(current)
                current = ""
            for piece in pieces[:-1]:
                out.append(current + piece)
                current = ""
            current += pieces[-1]
            open_word = True
            if text[-1].isspace():
                out.append(current)
                current = ""
                open_word = False
        if open_word:
            out.append(current)
        return out

    def _part(self, part: Part) -> str:
        kind, text, _ = part
        if kind == "var":
            return self._variable(text)
        if kind == "arith":
            return str(arithmetic(self._one(_arithmetic_word(text)), self.variables))
        if kind == "command":
            return self.run_text(text).out.rstrip("\n")
        return text

    def _variable(self, name: str) -> str:
        if name == "?":
            return str(self.status)
        if name == "#":
            return str(len(self.arguments))
        if name == "@":
            return " ".join(self.arguments)
        if name == "$":
            return self.variables.get("PACKETDRILL_PID", "")
        if name.isdigit():
            index = int(name)
            if index == 0:
                return self.variables.get("0", "")
            return self.arguments[index - 1] if index <= len(self.arguments) else ""
        return self.variables.get(name, "")


def _arithmetic_word(text: str) -> Word:
    """`$NAME` in an arithmetic expression is replaced before it is read."""
    word = Word()
    at = 0
    for match in re.finditer(r"\$\{?([A-Za-z_][A-Za-z0-9_]*)\}?", text):
        word.parts.append(("text", text[at : match.start()], True))
        word.parts.append(("var", match.group(1), True))
        at = match.end()
    word.parts.append(("text", text[at:], True))
    return word


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
