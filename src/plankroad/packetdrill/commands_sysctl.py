"""The commands that read and set what is in `sysctl_table`."""

from __future__ import annotations

from typing import Final

from plankroad.packetdrill.errors import ScriptError, UnknownCommandError
from plankroad.packetdrill.machine import Machine
from plankroad.packetdrill.shell import Result
from plankroad.packetdrill.sysctl_entries import Absent, Sysctl
from plankroad.packetdrill.sysctl_table import sysctl_path


def sysctl(machine: Machine, words: list[str], stdin: str) -> Result:
    """`sysctl [-q] [-n] [-e] [-w] name[=value]...`, also `name = value`."""
    quiet = values_only = ignore = False
    names_given: list[str] = []
    for word in words[1:]:
        if word.startswith("-") and len(word) > 1 and not names_given:
            for letter in word[1:]:
                if letter == "q":
                    quiet = True
                elif letter == "n":
                    values_only = True
                elif letter == "e":
                    ignore = True
                elif letter != "w":
                    raise UnknownCommandError(f"sysctl: the option -{letter} is not known here")
        else:
            names_given.append(word)
    joined = _join(names_given)
    if not joined:
        raise ScriptError("sysctl: no name is given")
    out = ""
    err = ""
    status = 0
    for name, value in joined:
        entry = machine.sysctls.get(sysctl_path(name))
        if isinstance(entry, Absent) or (entry is None and ignore):
            if not ignore:
                status = 255
                err += f"sysctl: cannot stat {sysctl_path(name)}: No such file or directory\n"
            continue
        if entry is None:
            raise UnknownCommandError(f"the sysctl {name} is not known here")
        if value is not None:
            set_value(machine, name, entry, value)
        text = entry.read(machine)
        if value is None or not quiet:
            out += f"{text}\n" if values_only else f"{name.replace('/', '.')} = {text}\n"
    return Result(status, out, err)


def set_value(machine: Machine, name: str, entry: Sysctl, value: str) -> None:
    """Write, with the name in what is said if it fails."""
    try:
        entry.write(machine, value)
    except ScriptError as error:
        raise ScriptError(f"{name}={value}: {error}") from None


def _join(words: list[str]) -> list[tuple[str, str | None]]:
    """Names with their values; `name = value` comes in three words."""
    result: list[tuple[str, str | None]] = []
    i = 0
    while i < len(words):
        name, equals, value = words[i].partition("=")
        if equals:
            result.append((name, value))
        elif i + 1 < len(words) and words[i + 1] == "=":
            if i + 2 >= len(words):
                raise ScriptError(f"sysctl: no value is given for {name}")
            result.append((name, words[i + 2]))
            i += 2
        else:
            result.append((name, None))
        i += 1
    return result


def set_sysctls(machine: Machine, words: list[str], stdin: str) -> Result:
    """`set_sysctls.py FILE=VALUE...` of the public scripts: sets them, and writes a script that sets them back."""
    lines = ["#!/bin/sh"]
    pid = machine.values.get("pid", "0")
    for word in words[1:]:
        path, equals, value = word.partition("=")
        entry = machine.sysctls.get(path)
        if not equals:
            raise ScriptError(f"{words[0]}: {word!r} must be a file and a value with = between them")
        if entry is None or isinstance(entry, Absent):
            raise UnknownCommandError(f"{words[0]}: nothing is known of {path}")
        lines.append(f'echo "{entry.read(machine)}" > {path}')
        set_value(machine, path, entry, value)
    machine.write(f"/tmp/sysctl_restore_{pid}.sh", "\n".join(lines) + "\n", False)
    return Result()


COMMANDS: Final = {"sysctl": sysctl, "set_sysctls.py": set_sysctls}
