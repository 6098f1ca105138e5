"""Commands about text and files: echo, cat, grep, test and their like, as far as scripts use them.

Files are those of `Machine.files`: nothing outside is written or removed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from plankroad.packetdrill.errors import ScriptError, ShellError, UnknownCommandError
from plankroad.packetdrill.machine import Machine
from plankroad.packetdrill.shell import Result
from plankroad.packetdrill.shell_arithmetic import number
from plankroad.units import SECOND


def _unknown_option(words: list[str], option: str) -> UnknownCommandError:
    return UnknownCommandError(f"{words[0]}: the option {option} is not known here")


def _inputs(machine: Machine, words: list[str], names: list[str], stdin: str) -> tuple[list[tuple[str, str]], str]:
    """(name, text) of each file, standard input where there is none, and what is said of those that are missing."""
    if not names:
        return [("-", stdin)], ""
    found: list[tuple[str, str]] = []
    err = ""
    for name in names:
        text = stdin if name == "-" else machine.read(name)
        if text is None:
            err += f"{words[0]}: {name}: No such file or directory\n"
        else:
            found.append((name, text))
    return found, err


def true(machine: Machine, words: list[str], stdin: str) -> Result:
    """`true`, `:`"""
    return Result()


def false(machine: Machine, words: list[str], stdin: str) -> Result:
    """`false`"""
    return Result(1)


def echo(machine: Machine, words: list[str], stdin: str) -> Result:
    """`echo [-n] [-e] WORD...`"""
    rest = words[1:]
    end = "\n"
    escapes = False
    while rest and re.fullmatch(r"-[neE]+", rest[0]):
        for letter in rest.pop(0)[1:]:
            if letter == "n":
                end = ""
            else:
                escapes = letter == "e"
    text = " ".join(rest)
    return Result(out=(_unescape(text) if escapes else text) + end)


def _unescape(text: str) -> str:
    table = {"n": "\n", "t": "\t", "\\": "\\", "r": "\r", "0": "\0"}
    return re.sub(r"\\([nt\\r0])", lambda match: table[match[1]], text)


def printf(machine: Machine, words: list[str], stdin: str) -> Result:
    """`printf FORMAT WORD...` with %s, %d, %x and %%."""
    if len(words) < 2:
        raise ScriptError("printf: no format is given")
    values = words[2:]

    def one(match: re.Match[str]) -> str:
        if match[0] == "%%":
            return "%"
        value = values.pop(0) if values else ""
        if match[1] == "s":
            return value
        return format(number(value or "0"), match[1])

    out = ""
    while True:
        before = len(values)
        out += re.sub(r"%([sdx%])", one, _unescape(words[1]))
        if not values or len(values) == before:
            return Result(out=out)


def cat(machine: Machine, words: list[str], stdin: str) -> Result:
    """`cat [FILE...]`"""
    for word in words[1:]:
        if word.startswith("-") and word != "-":
            raise _unknown_option(words, word)
    found, err = _inputs(machine, words, words[1:], stdin)
    return Result(1 if err else 0, "".join(text for _, text in found), err)


def grep(machine: Machine, words: list[str], stdin: str) -> Result:
    """`grep [-qvciwxnEFsho] [-e] PATTERN [FILE...]`; basic patterns, extended ones with -E, words with -F."""
    flags: set[str] = set()
    patterns: list[str] = []
    rest: list[str] = []
    i = 1
    while i < len(words):
        word = words[i]
        if word == "-e":
            i += 1
            if i >= len(words):
                raise ScriptError("grep: no pattern follows -e")
            patterns.append(words[i])
        elif word.startswith("-") and len(word) > 1 and not rest:
            for letter in word[1:]:
                if letter not in "qvciwxnEFsho":
                    raise _unknown_option(words, "-" + letter)
                flags.add(letter)
        else:
            rest.append(word)
        i += 1
    if not patterns:
        if not rest:
            raise ScriptError("grep: no pattern is given")
        patterns.append(rest.pop(0))
    matches = _matcher(patterns, flags)
    found, err = _inputs(machine, words, rest, stdin)
    out = ""
    count = 0
    for name, text in found:
        prefix = f"{name}:" if len(rest) > 1 and "h" not in flags else ""
        own = 0
        for at, line in enumerate(text.splitlines(), 1):
            match = matches(line)
            if (match is not None) == ("v" in flags):
                continue
            own += 1
            shown = match[0] if match is not None and "o" in flags else line
            if not flags & {"q", "c"}:
                out += prefix + (f"{at}:" if "n" in flags else "") + shown + "\n"
        count += own
        if "c" in flags and "q" not in flags:
            out += f"{prefix}{own}\n"
    status = 2 if err else 0 if count else 1
    if "q" in flags and count:
        status = 0
    return Result(status, out, "" if "s" in flags else err)


def _matcher(patterns: list[str], flags: set[str]) -> Callable[[str], re.Match[str] | None]:
    parts: list[str] = []
    for pattern in patterns:
        if "F" in flags:
            part = re.escape(pattern)
        elif "E" in flags:
            part = _classes(pattern)
        else:
            part = _basic(pattern)
        parts.append(part)
    text = "|".join(f"(?:{part})" for part in parts)
    if "w" in flags:
        text = rf"(?<!\w)(?:{text})(?!\w)"
    if "x" in flags:
        text = f"^(?:{text})$"
    try:
        compiled = re.compile(text, re.IGNORECASE if "i" in flags else 0)
    except re.error as error:
        raise ScriptError(f"grep: the pattern {' '.join(patterns)!r} cannot be read: {error}") from None
    return compiled.search


_POSIX: Final = {
    "digit": "0-9",
    "alpha": "a-zA-Z",
    "alnum": "a-zA-Z0-9",
    "space": r"\s",
    "upper": "A-Z",
    "lower": "a-z",
}


def _classes(pattern: str) -> str:
    return re.sub(r"\[:(\w+):\]", lambda match: _POSIX.get(match[1], match[0]), pattern)


def _basic(pattern: str) -> str:
    """A basic regular expression as Python writes it: what has a backslash there has none here, and the other way."""
    out = ""
    i = 0
    while i < len(pattern):
        char = pattern[i]
        if char == "[":
            end = pattern.find("]", i + 2)
            if end < 0:
                raise ScriptError(f"grep: the [ of {pattern!r} is not closed")
            out += _classes(pattern[i : end + 1])
            i = end + 1
            continue
        if char == "\\" and i + 1 < len(pattern):
            following = pattern[i + 1]
            out += following if following in "(){}|+?" else "\\" + following
            i += 2
            continue
        out += "\\" + char if char in "(){}|+?" else char
        i += 1
    return out


def head(machine: Machine, words: list[str], stdin: str) -> Result:
    """`head`, `tail [-n COUNT | -COUNT] [FILE...]`"""
    count = 10
    names: list[str] = []
    i = 1
    while i < len(words):
        word = words[i]
        if word == "-n" and i + 1 < len(words):
            i += 1
            count = number(words[i])
        elif re.fullmatch(r"-n?\d+", word):
            count = number(word.lstrip("-n"))
        elif word.startswith("-") and word != "-":
            raise _unknown_option(words, word)
        else:
            names.append(word)
        i += 1
    found, err = _inputs(machine, words, names, stdin)
    out = ""
    for _, text in found:
        lines = text.splitlines(keepends=True)
        kept = lines[:count] if words[0] == "head" else lines[len(lines) - count :] if count < len(lines) else lines
        out += "".join(kept)
    return Result(1 if err else 0, out, err)


def wc(machine: Machine, words: list[str], stdin: str) -> Result:
    """`wc -l | -w | -c [FILE...]`"""
    options = [word for word in words[1:] if word.startswith("-")]
    if options not in (["-l"], ["-w"], ["-c"]):
        raise _unknown_option(words, " ".join(options) or "(none)")
    found, err = _inputs(machine, words, [word for word in words[1:] if not word.startswith("-")], stdin)
    text = "".join(one for _, one in found)
    value = text.count("\n") if options == ["-l"] else len(text.split()) if options == ["-w"] else len(text.encode())
    return Result(1 if err else 0, f"{value}\n", err)


def cut(machine: Machine, words: list[str], stdin: str) -> Result:
    """`cut -d C -f N[,N...]`"""
    separator = "\t"
    fields: list[int] = []
    rest = words[1:]
    names: list[str] = []
    while rest:
        word = rest.pop(0)
        if word[:2] in ("-d", "-f"):
            value = word[2:] or (rest.pop(0) if rest else "")
            if word[1] == "d":
                separator = value
            else:
                fields = [number(one) for one in value.split(",")]
        elif word.startswith("-") and word != "-":
            raise _unknown_option(words, word)
        else:
            names.append(word)
    if not fields or len(separator) != 1:
        raise ScriptError("cut: -d with one character and -f with numbers are expected")
    found, err = _inputs(machine, words, names, stdin)
    out = ""
    for _, text in found:
        for line in text.splitlines():
            pieces = line.split(separator)
            chosen = [pieces[at - 1] for at in fields if 0 < at <= len(pieces)]
            out += (line if len(pieces) == 1 else separator.join(chosen)) + "\n"
    return Result(1 if err else 0, out, err)


def remove(machine: Machine, words: list[str], stdin: str) -> Result:
    """`rm [-f] FILE...`"""
    force = False
    err = ""
    for word in words[1:]:
        if word in ("-f", "-rf", "-fr", "-r"):
            force = force or "f" in word
        elif word.startswith("-"):
            raise _unknown_option(words, word)
        elif machine.files.pop(machine.path(word), None) is None and not force:
            err += f"rm: cannot remove '{word}': No such file or directory\n"
    return Result(1 if err else 0, "", err)


def touch(machine: Machine, words: list[str], stdin: str) -> Result:
    """`touch FILE...`"""
    for word in words[1:]:
        machine.write(word, "", True)
    return Result()


def chmod(machine: Machine, words: list[str], stdin: str) -> Result:
    """`chmod MODE FILE...`: any file here can be executed."""
    err = "".join(
        f"chmod: cannot access '{word}': No such file or directory\n"
        for word in words[2:]
        if machine.read(word) is None
    )
    return Result(1 if err else 0, "", err)


_SIZES: Final = {"": 1, "c": 1, "k": 1024, "K": 1024, "M": 1024 * 1024, "kB": 1000, "MB": 1000 * 1000}


def _size(text: str) -> int:
    match = re.fullmatch(r"(\d+)(\D*)", text)
    if match is None or match[2] not in _SIZES:
        raise ScriptError(f"{text!r} is no size")
    return int(match[1]) * _SIZES[match[2]]


def dd(machine: Machine, words: list[str], stdin: str) -> Result:
    """`dd if=FILE of=FILE [bs=SIZE] [count=N] [status=none]`; /dev/zero is as long as it must be."""
    given = {"if": "", "of": "", "bs": "512", "count": "", "status": ""}
    for word in words[1:]:
        name, equals, value = word.partition("=")
        if not equals or name not in given:
            raise _unknown_option(words, word)
        given[name] = value
    length = _size(given["bs"]) * number(given["count"]) if given["count"] else -1
    if given["if"] in ("/dev/zero", "/dev/urandom"):
        if length < 0:
            raise ScriptError(f"dd: {given['if']} never ends; say count=")
        data = bytes(length)
    else:
        text = machine.read(given["if"]) if given["if"] else stdin
        if text is None:
            return Result(1, "", f"dd: failed to open '{given['if']}': No such file or directory\n")
        raw = machine.files.get(machine.path(given["if"])) if given["if"] else None
        data = bytes(raw) if raw is not None else text.encode()
        data = data if length < 0 else data[:length]
    if not given["of"]:
        return Result(out=data.decode("latin-1"))
    if given["of"] != "/dev/null":
        machine.files[machine.path(given["of"])] = bytearray(data)
    return Result()


def test(machine: Machine, words: list[str], stdin: str) -> Result:
    """`test` and `[`: strings, numbers, files, `!`, `-a`, `-o`."""
    rest = words[1:]
    if words[0] == "[":
        if not rest or rest[-1] != "]":
            raise ScriptError("[: the closing ] is missing")
        rest = rest[:-1]
    return Result(0 if _either(machine, rest) else 1)


def _either(machine: Machine, words: list[str]) -> bool:
    if "-o" in words[1:]:
        at = words.index("-o", 1)
        return _either(machine, words[:at]) or _either(machine, words[at + 1 :])
    if "-a" in words[1:]:
        at = words.index("-a", 1)
        return _either(machine, words[:at]) and _either(machine, words[at + 1 :])
    if words[:1] == ["!"] and len(words) > 1:
        return not _either(machine, words[1:])
    return _condition(machine, words)


def _condition(machine: Machine, words: list[str]) -> bool:
    if len(words) < 2:
        return bool(words and words[0])
    if len(words) == 2:
        operator, value = words
        if operator == "-n":
            return bool(value)
        if operator == "-z":
            return not value
        if operator in ("-e", "-f", "-r", "-x"):
            return machine.read(value) is not None
        if operator == "-s":
            return bool(machine.read(value))
        if operator == "-d":
            return machine.directory.joinpath(value).is_dir()
    elif len(words) == 3:
        left, operator, right = words
        if operator in ("=", "=="):
            return left == right
        if operator == "!=":
            return left != right
        if operator in ("-eq", "-ne", "-lt", "-le", "-gt", "-ge"):
            try:
                a, b = int(left), int(right)
            except ValueError:
                raise ScriptError(f"test: {left!r} and {right!r} must be whole numbers for {operator}") from None
            return {"-eq": a == b, "-ne": a != b, "-lt": a < b, "-le": a <= b, "-gt": a > b, "-ge": a >= b}[operator]
    raise UnknownCommandError(f"test: the expression {' '.join(words)} is not known here")


def sleep(machine: Machine, words: list[str], stdin: str) -> Result:
    """`sleep SECONDS`: time goes on for the stack."""
    if machine.sleep is None:
        raise ScriptError("sleep: a command cannot let time go on here")
    try:
        duration = float(words[1].removesuffix("s"))
    except (IndexError, ValueError):
        raise ScriptError("sleep: a number of seconds is expected") from None
    machine.sleep(round(duration * SECOND))
    return Result()


def seq(machine: Machine, words: list[str], stdin: str) -> Result:
    """`seq [FIRST] LAST`"""
    try:
        values = [number(word) for word in words[1:]]
    except ShellError as error:
        raise ScriptError(f"seq: {error}") from None
    if not 1 <= len(values) <= 2:
        raise ScriptError("seq: one or two numbers are expected")
    first = values[0] if len(values) == 2 else 1
    return Result(out="".join(f"{value}\n" for value in range(first, values[-1] + 1)))


COMMANDS: Final = {
    ":": true,
    "true": true,
    "false": false,
    "echo": echo,
    "printf": printf,
    "cat": cat,
    "grep": grep,
    "egrep": lambda machine, words, stdin: grep(machine, ["grep", "-E", *words[1:]], stdin),
    "head": head,
    "tail": head,
    "wc": wc,
    "cut": cut,
    "rm": remove,
    "touch": touch,
    "chmod": chmod,
    "dd": dd,
    "test": test,
    "[": test,
    "sleep": sleep,
    "seq": seq,
}
