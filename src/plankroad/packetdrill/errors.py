"""What can be wrong with a script besides an expectation that is not met."""

from __future__ import annotations

from plankroad.packetdrill.syntax import Location


class ScriptError(Exception):
    """The script, its command or its profile cannot be carried out as it stands; the text says what and why."""


class UnknownCommandError(ScriptError):
    """A command in backticks that no table knows; the text names it."""


class NotApplicableError(ScriptError):
    """A declared table says that the stack has no counterpart for what the script needs; the text is the reason."""


class BadScriptError(ScriptError):
    """What is wrong with the text of a script, and where: `file:line:column: message`. Bad text raises nothing else.

    `where` is None where no place can be named.
    """

    def __init__(self, where: Location | None, message: str) -> None:
        super().__init__(f"{where}: {message}" if where is not None else message)
        self.where = where
        self.message = message


class ShellError(Exception):
    """Shell text that can't be read or a command that can't be carried out; one line that says what it is."""
