"""What stands behind the name of a sysctl or of a file under /sys: entries that read and write text."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from plankroad.packetdrill.errors import ScriptError, ShellError
from plankroad.packetdrill.machine import Machine
from plankroad.packetdrill.shell_arithmetic import number


class Sysctl:
    """One name. `reason`: why it has no bearing on the stack, where it has none."""

    reason = ""

    def read(self, machine: Machine) -> str:
        """Its value as text."""
        raise NotImplementedError

    def write(self, machine: Machine, text: str) -> None:
        """Take a value. Raises ScriptError for one that cannot be taken, and says why."""
        raise NotImplementedError


def to_number(text: str) -> int:
    """A whole number as `sysctl` takes it. Raises ScriptError."""
    try:
        return number(text.strip())
    except ShellError as error:
        raise ScriptError(str(error)) from None


class Call(Sysctl):
    """An entry made of two functions."""

    def __init__(self, read: Callable[[Machine], str], write: Callable[[Machine, str], None]) -> None:
        self._read = read
        self._write = write

    def read(self, machine: Machine) -> str:
        return self._read(machine)

    def write(self, machine: Machine, text: str) -> None:
        self._write(machine, text)


class Flag(Sysctl):
    """A yes or no of `TcpConfig`; `true`: the values that mean yes, of which the first is told."""

    def __init__(self, field: str, true: tuple[int, ...] = (1,), false: int = 0) -> None:
        self.field = field
        self.true = true
        self.false = false

    def read(self, machine: Machine) -> str:
        return str(self.true[0] if getattr(machine.stack.config.tcp, self.field) else self.false)

    def write(self, machine: Machine, text: str) -> None:
        value = to_number(text)
        if value != self.false and value not in self.true:
            known = ", ".join(str(one) for one in (self.false, *self.true))
            raise ScriptError(f"the value {value} is not one that the stack can act on; these are: {known}")
        machine.set_tcp(**{self.field: value in self.true})


class Number(Sysctl):
    """A number of `TcpConfig` (`stack`: of `StackConfig`), `scale` of whose units make one of the sysctl's."""

    def __init__(self, field: str, scale: int = 1, stack: bool = False) -> None:
        self.field = field
        self.scale = scale
        self.stack = stack

    def read(self, machine: Machine) -> str:
        config = machine.stack.config
        return str(getattr(config if self.stack else config.tcp, self.field) // self.scale)

    def write(self, machine: Machine, text: str) -> None:
        value = to_number(text) * self.scale
        if self.stack:
            machine.set_stack(**{self.field: value})
        else:
            machine.set_tcp(**{self.field: value})


class Choice(Sysctl):
    """Fields of `TcpConfig` together: each value of the sysctl stands for what they are."""

    def __init__(self, table: Mapping[int, Mapping[str, object]]) -> None:
        self.table = table

    def read(self, machine: Machine) -> str:
        config = machine.stack.config.tcp
        for value, fields in self.table.items():
            if all(getattr(config, name) == wanted for name, wanted in fields.items()):
                return str(value)
        return "0"

    def write(self, machine: Machine, text: str) -> None:
        value = to_number(text)
        if value not in self.table:
            known = ", ".join(str(one) for one in self.table)
            raise ScriptError(f"the value {value} is not one that the stack can act on; these are: {known}")
        machine.set_tcp(**self.table[value])


class Fixed(Sysctl):
    """The stack does what some values mean and nothing else; any other is refused."""

    def __init__(self, default: str, reason: str, also: tuple[str, ...] = ()) -> None:
        self.default = default
        self.reason = reason
        self.also = also

    def read(self, machine: Machine) -> str:
        return machine.values.get(str(id(self)), self.default)

    def write(self, machine: Machine, text: str) -> None:
        value = " ".join(text.split())
        if value not in (self.default, *self.also) and not _same_number(value, (self.default, *self.also)):
            raise ScriptError(
                f"the value {value} is not one that the stack can act on ({self.reason}); it must be "
                + " or ".join((self.default, *self.also))
            )
        machine.values[str(id(self))] = value


def _same_number(value: str, known: tuple[str, ...]) -> bool:
    try:
        return number(value) in [number(one) for one in known]
    except ShellError:
        return False


class NoBearing(Sysctl):
    """Kept and given back; nothing in the stack would look at it, for the reason given."""

    def __init__(self, default: str, reason: str) -> None:
        self.default = default
        self.reason = reason

    def read(self, machine: Machine) -> str:
        return machine.values.get(str(id(self)), self.default)

    def write(self, machine: Machine, text: str) -> None:
        machine.values[str(id(self))] = "\t".join(text.split())


class ReadOnly(Sysctl):
    """It can be looked at."""

    def __init__(self, read: Callable[[Machine], str]) -> None:
        self._read = read

    def read(self, machine: Machine) -> str:
        return self._read(machine)

    def write(self, machine: Machine, text: str) -> None:
        raise ScriptError("it can be read only")


class Policy(Sysctl):
    """A number of the sockets' policy (`plankroad.testing.syscalls.SocketPolicy`)."""

    def __init__(self, field: str) -> None:
        self.field = field

    def read(self, machine: Machine) -> str:
        return str(int(getattr(machine.policy, self.field)))

    def write(self, machine: Machine, text: str) -> None:
        value = to_number(text)
        if value < 0:
            raise ScriptError(f"the value {value} must not be negative")
        setattr(machine.policy, self.field, value)


class Absent(Sysctl):
    """A name that scripts try and Linux itself does not have: `sysctl` fails on it, as there."""
