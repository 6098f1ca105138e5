"""Commands in backticks: shell text, read by `shell` and carried out by tables.

    commands = Commands(Machine(stack, clock, table, script.parent))
    commands.run("../common/defaults.sh && sysctl -q net.ipv4.tcp_sack=0")

The tables map a command's name to a function (`machine.Command`), and the name of a sysctl or of a file under /proc
and /sys to an entry (`sysctl_entries.Sysctl`). A name with a slash that is a file is read as a script in the same
shell language. What is in no table is an `UnknownCommandError` that names it; nothing is ever skipped.

A Python file may add to both tables, for scripts that were written for other systems (`--commands FILE.py`):

    from plankroad.packetdrill.shell import Result
    from plankroad.packetdrill.sysctl_entries import Flag

    def arp(machine, words, stdin):                       # words[0] == "arp"
        return Result(status=0, out="nobody\\n")

    COMMANDS = {"arp": arp}
    SYSCTLS = {"net.inet.tcp.sack.enable": Flag("sack")}
"""

from __future__ import annotations

import runpy
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from plankroad.packetdrill import commands_net, commands_sysctl, commands_text
from plankroad.packetdrill.errors import ScriptError, ShellError, UnknownCommandError
from plankroad.packetdrill.machine import Command, Machine
from plankroad.packetdrill.shell import Interpreter, Result
from plankroad.packetdrill.sysctl_entries import Sysctl
from plankroad.packetdrill.sysctl_table import sysctl_path, table

#: Where the system's own programs are: `/bin/rm` is `rm`.
_SYSTEM: Final = ("/bin/", "/sbin/", "/usr/bin/", "/usr/sbin/", "/usr/local/bin/", "/usr/local/sbin/")


class Commands:
    """Runs a script's commands on a `Machine`. `pid`: what `$PPID` and `$PACKETDRILL_PID` are."""

    def __init__(self, machine: Machine, extensions: Sequence[Path] = (), pid: int = 1) -> None:
        """Raises ScriptError for an extension file that cannot be used."""
        self.machine = machine
        machine.sysctls = {**table(), **commands_net.FILES}
        machine.values["pid"] = str(pid)
        self.table: dict[str, Command] = {
            **commands_text.COMMANDS,
            **commands_sysctl.COMMANDS,
            **commands_net.COMMANDS,
        }
        for path in extensions:
            self.extend(path)
        self.shell = Interpreter(self.execute, self._read, machine.write)
        self.shell.variables.update({"PPID": str(pid), "PACKETDRILL_PID": str(pid)})

    def extend(self, path: Path) -> None:
        """Take what a Python file adds: COMMANDS (name -> function) and SYSCTLS (name or path -> entry)."""
        try:
            added = runpy.run_path(str(path))
        except OSError as error:
            raise ScriptError(f"{path}: {error.strerror or error}") from None
        except Exception as error:
            raise ScriptError(f"{path}: {type(error).__name__}: {error}") from error
        commands = added.get("COMMANDS", {})
        sysctls = added.get("SYSCTLS", {})
        if not commands and not sysctls:
            raise ScriptError(f"{path} defines neither COMMANDS nor SYSCTLS; see plankroad.packetdrill.commands")
        for name, command in commands.items():
            if not isinstance(name, str) or not callable(command):
                raise ScriptError(f"{path}: COMMANDS must map names to functions, not {name!r} to {command!r}")
            self.table[name] = command
        for name, entry in sysctls.items():
            if not isinstance(name, str) or not isinstance(entry, Sysctl):
                raise ScriptError(f"{path}: SYSCTLS must map names to entries (Sysctl), not {name!r} to {entry!r}")
            self.machine.sysctls[name if name.startswith("/") else sysctl_path(name)] = entry

    def run(self, text: str) -> Result:
        """Carry out the text between backticks. Raises ScriptError, UnknownCommandError for what is not known."""
        try:
            return self.shell.run_text(text)
        except ShellError as error:
            raise ScriptError(str(error)) from None

    def execute(self, words: list[str], stdin: str) -> Result:
        """One command."""
        name = words[0]
        if name in ("exit", "return"):
            raise UnknownCommandError(f"the shell's {name} is not known here")
        if name in (".", "source", "sh", "bash", "/bin/sh", "/bin/bash"):
            if len(words) < 2 or words[1].startswith("-"):
                raise UnknownCommandError(f"{' '.join(words)}: {name} needs the name of a script here")
            return self._script(words[1:], stdin)
        if name in ("set", "export", "unset", "cd"):
            return self._builtin(words)
        known = self.table.get(name)
        if known is None and "/" in name:
            for place in _SYSTEM:
                if name.startswith(place):
                    known = self.table.get(name[len(place) :])
            if known is None:
                known = self.table.get(name.rsplit("/", 1)[1]) if name.endswith(".py") else None
            if known is None:
                return self._script(words, stdin)
        if known is None:
            raise UnknownCommandError(
                f"the command {name!r} is not known here; a command file (--commands) can tell what it does"
            )
        try:
            return known(self.machine, words, stdin)
        except ShellError as error:
            raise ScriptError(f"{name}: {error}") from None

    def _builtin(self, words: list[str]) -> Result:
        name = words[0]
        if name == "set":
            # -e, -u, -x: what a shell makes of failures and shows; commands of a script are judged by their status.
            for word in words[1:]:
                if word not in ("-e", "-u", "-x", "-eu", "-ex", "+e", "+x", "-o", "pipefail"):
                    raise UnknownCommandError(f"set: {word} is not known here")
        elif name == "export":
            for word in words[1:]:
                variable, equals, value = word.partition("=")
                if equals:
                    self.shell.variables[variable] = value
        elif name == "unset":
            for word in words[1:]:
                self.shell.variables.pop(word, None)
        else:
            if len(words) != 2 or not (self.machine.directory / words[1]).is_dir():
                return Result(1, "", f"cd: {' '.join(words[1:])}: No such directory\n")
            self.machine.directory = (self.machine.directory / words[1]).resolve()
        return Result()

    def _script(self, words: list[str], stdin: str) -> Result:
        """A file of commands."""
        name = words[0]
        text = self.machine.read(name)
        if text is None:
            raise UnknownCommandError(f"there is no command and no file {name}")
        first = text.split("\n", 1)[0]
        if first.startswith("#!") and not first.rstrip().endswith(("/sh", "/bash", " sh", " bash", "/dash")):
            raise UnknownCommandError(
                f"{name} is a program ({first}), and not known here; a command file (--commands) can tell what it does"
            )
        before = self.shell.arguments
        self.shell.arguments = words[1:]
        try:
            return self.shell.run_text(text)
        except (ScriptError, ShellError) as error:
            kind = UnknownCommandError if isinstance(error, UnknownCommandError) else ScriptError
            raise kind(f"{name}: {error}") from None
        finally:
            self.shell.arguments = before

    def _read(self, name: str) -> str:
        text = self.machine.read(name)
        if text is None:
            raise ScriptError(f"there is no file {name}")
        return text
