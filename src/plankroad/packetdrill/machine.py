"""`Machine`: what the commands of a script act on, and what a command is.

A command is a function `command(machine, words, stdin) -> Result`; `words[0]` is its name. The tables that map names
to functions are in `commands_text`, `commands_sysctl` and `commands_net`; `commands` puts them together.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plankroad.packetdrill.errors import ScriptError
from plankroad.packetdrill.shell import Result
from plankroad.testing.syscalls import SocketPolicy

if TYPE_CHECKING:
    from plankroad.ip.interface import Interface
    from plankroad.packetdrill.sysctl_entries import Sysctl
    from plankroad.stack.stack import Stack
    from plankroad.tcp.config import TcpConfig
    from plankroad.testing.syscalls import SyscallTable

Command = Callable[["Machine", list[str], str], Result]


class Machine:
    """One host under test. `clock` tells the stack's time; `table` has the program's sockets, None where there is none.

    `files`: content by path, of what commands and the script wrote; nothing is written anywhere else. `directory`:
    where the script is, from where relative names are read. `values`: of sysctls that the stack has no use for.
    `sleep` lets time go on, None where it cannot. `queue_closed`: the device's queue has no place at all (`tc ... limit
    0`): what the host sends is dropped before the wire.
    """

    def __init__(
        self,
        stack: Stack,
        clock: Callable[[], int],
        table: SyscallTable | None = None,
        directory: Path | None = None,
        sleep: Callable[[int], None] | None = None,
    ) -> None:
        self.stack = stack
        self.clock = clock
        self.table = table
        self.directory = directory if directory is not None else Path()
        self.sleep = sleep
        self.policy = table.policy if table is not None else SocketPolicy()
        self.files: dict[str, bytearray] = table.files if table is not None else {}
        self.sysctls: dict[str, Sysctl] = {}
        self.values: dict[str, str] = {}
        self.nstat_history: dict[str, int] = {}
        self.qdiscs: dict[str, str] = {}
        self.queue_closed = False

    # The stack's configuration

    def set_tcp(self, **fields: Any) -> None:
        """Change the `TcpConfig` that connections and listeners begin with from now on.

        Raises ScriptError where the configuration does not take a value.
        """
        config: TcpConfig = self.stack.config.tcp.copy()
        for name, value in fields.items():
            setattr(config, name, value)
        try:
            config.validate()
        except ValueError as error:
            raise ScriptError(str(error)) from None
        self.stack.config.tcp = config
        if self.table is not None:
            self.table.refresh()

    def set_stack(self, **fields: Any) -> None:
        """Change the `StackConfig` of the living stack, as far as it asks it again."""
        config = self.stack.config
        before = {name: getattr(config, name) for name in fields}
        for name, value in fields.items():
            setattr(config, name, value)
        try:
            config.validate()
        except ValueError as error:
            for name, value in before.items():
                setattr(config, name, value)
            raise ScriptError(str(error)) from None

    # Looking

    def interface(self, name: str) -> Interface | None:
        """The interface of this name."""
        for interface in [*self.stack.interfaces, self.stack.loopback]:
            if interface.name == name:
                return interface
        return None

    # Files

    def path(self, name: str) -> str:
        """A name as the key of `files`: absolute, or made so from the script's directory."""
        return name if name.startswith("/") else str((self.directory / name).resolve())

    def read(self, name: str) -> str | None:
        """The text of a file: one that was written here, a sysctl under /proc/sys, or one of the machine we run on.

        None where there is none.
        """
        path = self.path(name)
        if path in self.files:
            return self.files[path].decode("utf-8", "replace")
        if path == "/dev/null":
            return ""
        if path.startswith(("/proc/", "/sys/")):
            entry = self.sysctls.get(path)
            return entry.read(self) + "\n" if entry is not None else None
        real = Path(path)
        return real.read_text(encoding="utf-8", errors="replace") if real.is_file() else None

    def write(self, name: str, text: str, append: bool) -> None:
        """Write to a file here, or a sysctl. Raises ScriptError for a name under /proc or /sys that is not known."""
        path = self.path(name)
        if path == "/dev/null":
            return
        if path.startswith(("/proc/", "/sys/")):
            entry = self.sysctls.get(path)
            if entry is None:
                raise ScriptError(f"nothing is known of {path}; a command file (--commands) can tell what it is")
            if text:
                entry.write(self, text.strip())
            return
        data = text.encode()
        if append and path in self.files:
            self.files[path] += data
        else:
            self.files[path] = bytearray(data)
