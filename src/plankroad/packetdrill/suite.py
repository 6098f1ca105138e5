"""Scripts by the file: found, read, run on the ground that is asked for, one after the other or on several cores."""

from __future__ import annotations

import multiprocessing
import os
import traceback
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Final

from plankroad.packetdrill.errors import BadScriptError, ScriptError
from plankroad.packetdrill.ground import IPV4, Ground, Settings
from plankroad.packetdrill.grounds import virtual_ground
from plankroad.packetdrill.outcome import FAILED, Outcome
from plankroad.packetdrill.parser import parse_script
from plankroad.packetdrill.runner import Runner
from plankroad.packetdrill.settings import settings_of
from plankroad.packetdrill.syntax import Location, Option, Script

if TYPE_CHECKING:
    from plankroad.packetdrill.kernel_host import Nursery

SUFFIX: Final = ".pkt"

#: Against whom scripts can be run.
PLANKROAD: Final = "plankroad"
LINUX: Final = "linux"

#: Scripts that a process is given at once.
_CHUNK: Final = 8

#: Scripts that a core runs on the kernel at once, in real time, without being late for one of them.
_AT_ONCE: Final = 6


class RunOptions:
    """How scripts are run. `profile`: the name of one that is built in, or a file. `commands`: Python files that add
    commands. `defines`: of the command line. `options`: as at the top of a script, and in force after its own.

    `against`: `PLANKROAD` or `LINUX`. `strict_end`: see `runner.Runner`.
    """

    def __init__(
        self,
        profile: str = "",
        commands: Sequence[str] = (),
        defines: dict[str, str] | None = None,
        options: Sequence[tuple[str, str]] = (),
        against: str = PLANKROAD,
        strict_end: bool = True,
        ip_version: str = IPV4,
    ) -> None:
        self.profile = profile
        self.commands = list(commands)
        self.defines = dict(defines or {})
        self.options = list(options)
        self.against = against
        self.strict_end = strict_end
        self.ip_version = ip_version

    def settings(self, script: Script) -> Settings:
        """The settings of a script's run."""
        given = [Option(name, value, Location("the command line", 0)) for name, value in self.options]
        return settings_of([*script.options, *given], self.ip_version)


def open_ground(settings: Settings, options: RunOptions, directory: Path, nursery: Nursery | None = None) -> Ground:
    """The ground that `options` ask for. Raises ScriptError where there is none.

    `nursery`: where kernel grounds come from; None: each from one of its own, which takes longer.
    """
    if options.against == LINUX:
        if options.profile or options.commands:
            raise ScriptError("profiles and commands are for plankroad's stack; the kernel is what it is")
        try:
            # Not before it is asked for: it is for Linux alone.
            from plankroad.packetdrill.linux import LinuxGround  # noqa: PLC0415
        except ImportError as error:
            raise ScriptError(f"the kernel is a ground on Linux alone: {error}") from None
        try:
            return LinuxGround(settings, nursery, directory=str(directory))
        except OSError as error:
            raise ScriptError(f"the kernel is no ground here: {error.strerror or error}") from None
    return virtual_ground(settings, options.profile, [Path(name) for name in options.commands], directory)


def run_text(
    text: str, file: str = "script", options: RunOptions | None = None, nursery: Nursery | None = None
) -> Outcome:
    """Run the script `text`; `file` names it, and relative names in commands are read from where it would be.

    `nursery`: see `open_ground`.
    """
    options = options or RunOptions()
    try:
        script = parse_script(text, file, options.defines)
        settings = options.settings(script)
        ground = open_ground(settings, options, Path(file).parent, nursery)
    except BadScriptError as error:
        return Outcome(file, FAILED, error.message, error.where.line if error.where is not None else 0)
    except ScriptError as error:
        return Outcome(file, FAILED, str(error))
    try:
        return Runner(script, ground, options.strict_end).run()
    finally:
        ground.close()


def run_file(path: str, options: RunOptions | None = None, nursery: Nursery | None = None) -> Outcome:
    """Run the script in a file. Whatever happens is in the outcome, a fault of the stack's or of ours too.

    `nursery`: see `open_ground`.
    """
    try:
        text = Path(path).read_bytes().decode("utf-8", "replace")
    except OSError as error:
        return Outcome(path, FAILED, f"the file cannot be read: {error.strerror or error}")
    try:
        return run_text(text, path, options, nursery)
    except Exception as error:
        why = f"{type(error).__name__} in plankroad: {error}"
        return Outcome(path, FAILED, why, 0, traceback.format_exc().rstrip())


def find_scripts(paths: Iterable[str]) -> list[str]:
    """Files as they are given, and all scripts below directories, in order. Raises FileNotFoundError."""
    found: list[str] = []
    for name in paths:
        path = Path(name)
        if path.is_dir():
            found += sorted(str(one) for one in path.rglob("*" + SUFFIX))
        elif path.exists():
            found.append(name)
        else:
            raise FileNotFoundError(2, "no such file or directory", name)
    return found


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Job:
    """`run_file` with its options, for another process."""

    def __init__(self, options: RunOptions) -> None:
        self.options = options

    def __call__(self, path: str) -> Outcome:
        return run_file(path, self.options)


def run_files(paths: Sequence[str], options: RunOptions | None = None, jobs: int = 0) -> Iterator[Outcome]:
    """The outcomes in the order of `paths`, on `jobs` processes; 0: as many as there are cores and work for them.

    On the kernel it is `jobs` threads, for each script waits most of its time; 0: as many as a core keeps in time.
    """
    options = options or RunOptions()
    if options.against == LINUX:
        yield from _run_on_kernel(paths, options, jobs if jobs > 0 else _AT_ONCE * cores())
        return
    if jobs <= 0:
        jobs = min(cores(), max(1, len(paths) // (2 * _CHUNK)))
    if jobs == 1 or len(paths) < 2:
        for path in paths:
            yield run_file(path, options)
        return
    with multiprocessing.Pool(min(jobs, len(paths))) as pool:
        yield from pool.imap(_Job(options), paths, min(_CHUNK, max(1, len(paths) // jobs)))


def _run_on_kernel(paths: Sequence[str], options: RunOptions, jobs: int) -> Iterator[Outcome]:
    try:
        from plankroad.packetdrill.kernel_host import Nursery  # noqa: PLC0415
    except ImportError as error:
        raise ScriptError(f"the kernel is a ground on Linux alone: {error}") from None
    with Nursery() as nursery, ThreadPoolExecutor(min(jobs, max(1, len(paths)))) as pool:
        yield from pool.map(lambda path: run_file(path, options, nursery), paths)
