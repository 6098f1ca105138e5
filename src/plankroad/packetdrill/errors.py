"""What can be wrong with a script besides an expectation that is not met."""

from __future__ import annotations


class ScriptError(Exception):
    """The script, its command or its profile cannot be carried out as it stands; the text says what and why."""


class UnknownCommandError(ScriptError):
    """A command in backticks that no table knows; the text names it."""


class NotApplicableError(ScriptError):
    """A declared table says that the stack has no counterpart for what the script needs; the text is the reason."""
