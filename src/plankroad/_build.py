"""Which build of plankroad this is: compiled by mypyc, or pure Python. The two differ in speed alone."""

from __future__ import annotations

from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

from plankroad import units

__version__ = "0.1.0"


def is_compiled() -> bool:
    """Whether the hot rooms run as compiled modules."""
    return str(units.__file__).endswith(tuple(EXTENSION_SUFFIXES))


def build() -> str:
    """`"compiled by mypyc"` or `"pure Python"`, the latter with the reason that the build left, if it left one."""
    if is_compiled():
        return "compiled by mypyc"
    try:
        reason = (Path(__file__).parent / "_pure_because.txt").read_text(encoding="utf-8").strip()
    except OSError:
        return "pure Python"
    return f"pure Python: {reason}"


def version() -> str:
    """What `plankroad --version` prints, such as `plankroad 0.1.0 (compiled by mypyc)`."""
    return f"plankroad {__version__} ({build()})"
