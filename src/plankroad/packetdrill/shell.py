"""A small reader of shell text: what stands between backticks in a script, and the files that it names.

It knows words, quotes, `$NAME`, `${NAME}`, `$((...))`, `$(...)`, comments, `;`, `&&`, `||`, `!`, pipes, groups, `if`,
assignments and redirections. That is what the public scripts use; the rest of the language (loops, functions, patterns,
here-documents) is refused by name, never taken for something else.

`shell_syntax.parse` makes a `Program` of text, `Interpreter` runs it. What a command does is not known here: the
interpreter asks `Interpreter.execute`, which `commands` fills in.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from plankroad.packetdrill.errors import ShellError
from plankroad.packetdrill.shell_arithmetic import arithmetic
from plankroad.packetdrill.shell_syntax import Part, Pipeline, Program, Simple, Word, parse

_ASSIGNMENT: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")
#: A script that sources itself ends here.
_DEEPEST: Final = 16


@dataclass
class Result:
    """What a command did: its exit status, and what it wrote."""

    status: int = 0
    out: str = ""
    err: str = ""


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
