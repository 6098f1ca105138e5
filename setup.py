"""Makes the compiled modules. What the package is stands in pyproject.toml, what is compiled too.

Whether anything is compiled is decided in scripts/plankroad_build.py.
"""

from __future__ import annotations

import importlib
import os
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from setuptools import Extension, setup
from setuptools.command.build import build
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT / "scripts"))

import plankroad_build  # noqa: E402

#: Why this build is pure; empty while it is compiled.
pure_because = ""


def fall_back(reason: str) -> None:
    """Go on without the compiled modules, or end the build where they were demanded."""
    global pure_because  # noqa: PLW0603
    if plankroad_build.mode() == "compiled":
        raise plankroad_build.BuildError(f"{plankroad_build.VARIABLE}=compiled, but {reason}")
    pure_because = reason


def compiled_modules() -> list[Extension]:
    """The compiled modules: C files that mypyc writes into build/, one shared library for all of them."""
    reason = plankroad_build.decide()
    if reason:
        fall_back(reason)
        return []
    try:
        mypycify = importlib.import_module("mypyc.build").mypycify
    except ImportError:
        fall_back(f"mypyc is not installed: pip install '{plankroad_build.settings()['mypy']}'")
        return []
    os.environ["MYPYPATH"] = str(ROOT / "src")
    options = ["--config-file=", "--explicit-package-bases", "--namespace-packages", "--follow-imports=silent"]
    try:
        found: list[Extension] = mypycify(
            [*options, *plankroad_build.compiled_sources()],
            # One C file a module, so that all cores take part, and level 2: level 3 over one file of everything takes
            # twice as much time of a single core, and what comes out is no faster.
            opt_level="2",
            multi_file=True,
            debug_level="0",
            group_name="plankroad.core",
            target_dir=str(ROOT / "build" / "mypyc"),
        )
    except (Exception, SystemExit) as error:
        # mypyc has printed what it dislikes; SystemExit is how it gives up.
        detail = "" if isinstance(error, SystemExit) else f" ({type(error).__name__}: {error})"
        fall_back(f"mypyc cannot compile the source here{detail}; pip's -v shows its messages")
        return []
    for extension in found:
        # mypyc takes it for granted that a group's headers lie beside its C files; ours is named within the package.
        extension.include_dirs.append(str(ROOT / "build" / "mypyc" / "plankroad"))
    return found


def compile_in_parallel(compiler: Any) -> None:
    """Let `compiler` compile the files of one library side by side, one a core; distutils takes them one by one."""
    one_by_one = compiler.compile

    def side_by_side(sources: list[str], *args: Any, **kwargs: Any) -> list[str]:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            found = pool.map(lambda source: one_by_one([source], *args, **kwargs), sources)
            return [made for each in found for made in each]

    compiler.compile = side_by_side


class BuildExtensions(build_ext):
    """All extension modules or none: a library without its shims, or the reverse, would not import."""

    extensions: list[Extension]
    parallel: int | bool | None

    def finalize_options(self) -> None:
        super().finalize_options()
        self.parallel = self.parallel or True  # the many small modules beside the one large library

    def build_extensions(self) -> None:
        compile_in_parallel(self.compiler)
        super().build_extensions()

    def run(self) -> None:
        try:
            super().run()
        except Exception as error:
            fall_back(f"the C compiler failed ({str(error).splitlines()[0]})")
            for extension in self.extensions:
                Path(self.get_ext_fullpath(extension.name)).unlink(missing_ok=True)
            self.extensions = []


class Build(build):
    """Leaves a note in the package when it is pure, for `plankroad --version`."""

    def run(self) -> None:
        shutil.rmtree(self.build_lib, ignore_errors=True)  # or modules that were renamed since would be packed too
        super().run()
        if pure_because and not getattr(self, "editable_mode", False):
            note = Path(self.build_lib) / "plankroad" / "_pure_because.txt"
            note.write_text(pure_because + "\n", encoding="utf-8")
            if plankroad_build.QUIET not in os.environ:
                plankroad_build.announce(pure_because)


commands: dict[str, Any] = {"build": Build, "build_ext": BuildExtensions}
setup(ext_modules=compiled_modules(), cmdclass=commands)
