"""The build backend: setuptools', plus the decision whether the hot rooms are compiled.

PLANKROAD_BUILD says what is wanted:

- `auto` (or unset): compiled where a C compiler and Python's headers are, else pure with one line that says so;
- `compiled`: an error that says what to install where they are not;
- `pure`: not compiled.

An editable install follows the source, so it is pure unless `compiled` is asked for. mypy, which holds the compiler
mypyc, is fetched only when it is needed. What is compiled is listed in pyproject.toml, `tool.plankroad.build`.
"""

from __future__ import annotations

import os
import platform
import signal
import sys
import sysconfig
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from setuptools import build_meta

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "plankroad"
VARIABLE = "PLANKROAD_BUILD"
QUIET = "PLANKROAD_BUILD_QUIET"  # set by the backend for itself
MODES = ("auto", "compiled", "pure")

#: Said by every error that a missing compiler causes.
REMEDY = (
    "Install a C compiler and Python's headers (Debian: apt-get install gcc python3-dev; Fedora: dnf install gcc "
    f"python3-devel; macOS: xcode-select --install), or set {VARIABLE}=pure."
)

Config = Mapping[str, Any] | None


class BuildError(SystemExit):
    """Ends the build with a message and no traceback."""


def settings() -> dict[str, Any]:
    """The table `tool.plankroad.build` of pyproject.toml."""
    with open(ROOT / "pyproject.toml", "rb") as file:
        table: dict[str, Any] = tomllib.load(file)["tool"]["plankroad"]["build"]
    return table


def compiled_sources() -> list[str]:
    """The files that are compiled: sorted paths relative to the repository's root, with `/`."""
    found: set[Path] = set()
    for pattern in settings()["compiled"]:
        found.update(path for path in PACKAGE.glob(pattern) if path.name != "__init__.py")
    return sorted(path.relative_to(ROOT).as_posix() for path in found)


def mode() -> str:
    """What PLANKROAD_BUILD asks for."""
    value = os.environ.get(VARIABLE, "") or "auto"
    if value not in MODES:
        raise BuildError(f"{VARIABLE}={value!r} is none of {', '.join(MODES)}")
    return value


def obstacle() -> str:
    """Why this machine cannot compile, in a few words; empty if it can."""
    if platform.python_implementation() != "CPython":
        return f"mypyc compiles for CPython, not for {platform.python_implementation()}"
    return _probe()


def _probe() -> str:
    """Build an extension module of three lines, as the real ones are built."""
    from setuptools import Distribution, Extension  # noqa: PLC0415
    from setuptools.command.build_ext import build_ext  # noqa: PLC0415

    headers = Path(sysconfig.get_path("include")) / "Python.h"
    with tempfile.TemporaryDirectory(prefix="plankroad-probe-") as place:
        source = Path(place) / "probe.c"
        source.write_text("#include <Python.h>\nPyMODINIT_FUNC PyInit_probe(void) { return NULL; }\n")
        command: Any = build_ext(Distribution({"ext_modules": [Extension("probe", [str(source)])]}))
        command.build_lib = command.build_temp = place
        try:
            command.ensure_finalized()
            with _silence():
                command.run()
        except Exception as error:  # the compilers of each platform fail in their own ways
            if not headers.exists():
                return f"Python's headers are missing ({headers})"
            return f"no C compiler works here ({str(error).splitlines()[0] if str(error) else type(error).__name__})"
    return ""


@contextmanager
def _silence() -> Iterator[None]:
    """Send the output of child processes to nowhere, so that a failed probe is told in our words only."""
    sys.stdout.flush()
    sys.stderr.flush()
    saved = [os.dup(1), os.dup(2)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, descriptor in enumerate(saved, start=1):
            os.dup2(descriptor, number)
            os.close(descriptor)


def decide() -> str:
    """Why the build is pure; empty if it compiles. BuildError if `compiled` was asked for and cannot be."""
    wanted = mode()
    if wanted == "pure":
        return f"{VARIABLE}=pure"
    reason = obstacle()
    if reason and wanted == "compiled":
        raise BuildError(f"{VARIABLE}=compiled, but {reason}. {REMEDY}")
    return reason


def announce(reason: str) -> None:
    """Say in one line that the build is pure, and why.

    pip shows what a build writes only with -v or when it fails, so where a person sits before the terminal the line
    goes there as well. `plankroad --version` repeats it at any time.
    """
    line = f"plankroad: built as pure Python, not compiled: {reason}."
    print(line, file=sys.stderr, flush=True)
    if os.name != "posix" or os.isatty(2):
        return
    try:
        terminal = os.open("/dev/tty", os.O_WRONLY | os.O_NOCTTY)
    except OSError:
        return
    try:
        # Only from the foreground: a background build neither writes into what its user does now nor is stopped.
        if os.tcgetpgrp(terminal) == os.getpgrp():
            previous = signal.signal(signal.SIGTTOU, signal.SIG_IGN)
            try:
                os.write(terminal, f"\r\n{line}\n".encode())
            finally:
                signal.signal(signal.SIGTTOU, previous)
    except (OSError, ValueError):
        pass  # no terminal after all, or not the main thread
    finally:
        os.close(terminal)


# The hooks of PEP 517 and PEP 660. setup.py is run by each; only the building of a wheel needs what it compiles.


@contextmanager
def _pure() -> Iterator[None]:
    """Run a hook as if nothing were to be compiled, and without a word about it."""
    mode()
    saved = {name: os.environ.get(name) for name in (VARIABLE, QUIET)}
    os.environ[VARIABLE] = "pure"
    os.environ[QUIET] = "1"
    try:
        yield
    finally:
        for name, value in saved.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _requirements(found: list[str]) -> list[str]:
    return found if decide() else [*found, settings()["mypy"]]


def get_requires_for_build_wheel(config_settings: Config = None) -> list[str]:
    with _pure():
        found = build_meta.get_requires_for_build_wheel(config_settings)
    return _requirements(found)


def get_requires_for_build_editable(config_settings: Config = None) -> list[str]:
    with _pure():
        found = build_meta.get_requires_for_build_editable(config_settings)
    return _requirements(found) if mode() == "compiled" else found


def get_requires_for_build_sdist(config_settings: Config = None) -> list[str]:
    with _pure():
        return build_meta.get_requires_for_build_sdist(config_settings)


def prepare_metadata_for_build_wheel(metadata_directory: str, config_settings: Config = None) -> str:
    with _pure():
        return build_meta.prepare_metadata_for_build_wheel(metadata_directory, config_settings)


def prepare_metadata_for_build_editable(metadata_directory: str, config_settings: Config = None) -> str:
    with _pure():
        return build_meta.prepare_metadata_for_build_editable(metadata_directory, config_settings)


def build_sdist(sdist_directory: str, config_settings: Config = None) -> str:
    with _pure():
        return build_meta.build_sdist(sdist_directory, config_settings)


def build_wheel(wheel_directory: str, config_settings: Config = None, metadata_directory: str | None = None) -> str:
    return build_meta.build_wheel(wheel_directory, config_settings, metadata_directory)


def build_editable(
    wheel_directory: str, config_settings: Config = None, metadata_directory: str | None = None
) -> str:
    if mode() != "compiled":
        with _pure():
            return build_meta.build_editable(wheel_directory, config_settings, metadata_directory)
    return build_meta.build_editable(wheel_directory, config_settings, metadata_directory)
