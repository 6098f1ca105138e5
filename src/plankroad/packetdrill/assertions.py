"""`%{ code }%`: Python that looks at a connection's `tcp_info` and asserts what it ought to be.

The names that the code sees are the members of tcp_info (`tcpi_snd_cwnd`, ...), the constants of `constants`, and what
earlier code of the script has set.
"""

from __future__ import annotations

import contextlib
import re
import sys
import textwrap
import traceback
from types import CodeType
from typing import Any, Final

from plankroad.packetdrill.constants import VALUES
from plankroad.packetdrill.errors import BadScriptError
from plankroad.packetdrill.syntax import Code

_NAME: Final = re.compile(r"\btcpi_\w+")


def uses_info(code: Code) -> bool:
    """It asks for tcp_info at all."""
    return _NAME.search(code.text) is not None


def _plain(text: str) -> str:
    """The code as Python takes it: what follows `%{` on its line, and the other lines without their common indent."""
    first, newline, rest = text.partition("\n")
    if not first.strip():
        return textwrap.dedent(rest)
    return first.strip() + newline + textwrap.dedent(rest)


def compile_code(code: Code) -> CodeType:
    """Raises BadScriptError with the line for what is no Python."""
    text = _plain(code.text)
    try:
        # A last line that ends with a backslash is followed by an empty one.
        return compile(text + "\n", f"{code.where.file}:{code.where.line}", "exec")
    except SyntaxError as exc:
        line = code.where.line + (exc.lineno or 1) - 1
        raise BadScriptError(code.where, f"found {exc.msg} in the code of line {line}, expected Python") from None


class Assertions:
    """The code of one script, which shares its variables."""

    def __init__(self) -> None:
        self.names: dict[str, Any] = {"__builtins__": __builtins__, **VALUES}

    def run(self, code: Code, info: dict[str, int]) -> str:
        """Why the code fails, "" where it does not. What it prints goes to standard error."""
        self.names.update(info)
        program = compile_code(code)
        try:
            with contextlib.redirect_stdout(sys.stderr):
                exec(program, self.names)
        except AssertionError as exc:
            told = f": {exc}" if str(exc) else ""
            return f"the assertion is false{told}{_values(code, info)}"
        except Exception as exc:
            where = traceback.extract_tb(exc.__traceback__)[-1].lineno or 1
            return f"{type(exc).__name__} in line {where} of the code: {exc}{_values(code, info)}"
        return ""


def _values(code: Code, info: dict[str, int]) -> str:
    """The members of tcp_info that the code speaks of, a line each."""
    lines = [f"\n{name} is {info[name]}" for name in dict.fromkeys(_NAME.findall(code.text)) if name in info]
    return "".join(lines)
