"""Which build this is, and how the build decides what it makes."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
import tomllib
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

import plankroad
from plankroad import _build

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PATTERNS: list[str] = PROJECT["tool"]["plankroad"]["build"]["compiled"]


def listed_modules() -> list[str]:
    """The dotted names of what pyproject.toml lists as compiled."""
    package = ROOT / "src" / "plankroad"
    paths = {path for pattern in PATTERNS for path in package.glob(pattern) if path.name != "__init__.py"}
    return sorted(".".join(path.relative_to(ROOT / "src").with_suffix("").parts) for path in paths)


def backend(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a few lines with the build backend imported as `plankroad_build`."""
    return subprocess.run(
        [sys.executable, "-c", "import plankroad_build\n" + program],
        env={**os.environ, "PYTHONPATH": str(ROOT / "scripts"), **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("name", listed_modules())
def test_a_listed_module_is_of_the_build_under_test(name: str) -> None:
    """PLANKROAD_EXPECT says which build the run is about; without it, all modules are of one kind."""
    file = importlib.import_module(name).__file__
    assert file is not None
    compiled = file.endswith(tuple(EXTENSION_SUFFIXES))
    expected = os.environ.get("PLANKROAD_EXPECT", "")
    assert compiled == (expected == "compiled" if expected else plankroad.is_compiled()), file


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.either
def test_each_pattern_of_the_compiled_list_matches_something(pattern: str) -> None:
    assert list((ROOT / "src" / "plankroad").glob(pattern))


@pytest.mark.either
def test_packages_of_compiled_rooms_only_re_export() -> None:
    """`__init__.py` is never compiled: what is to be fast may not live there."""
    for pattern in PATTERNS:
        init = (ROOT / "src" / "plankroad" / pattern).parent / "__init__.py"
        if pattern.endswith("/*.py"):
            text = init.read_text(encoding="utf-8")
            assert "def " not in text, init
            assert "class " not in text, init


def test_the_version_says_which_build_it_is() -> None:
    kind = r"compiled by mypyc" if plankroad.is_compiled() else r"pure Python(: .+)?"
    assert re.fullmatch(rf"plankroad {re.escape(plankroad.__version__)} \({kind}\)", _build.version())


def test_a_pure_build_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "_pure_because.txt").write_text("no C compiler works here\n")
    monkeypatch.setattr(_build, "__file__", str(tmp_path / "_build.py"))
    monkeypatch.setattr(_build, "is_compiled", lambda: False)
    assert _build.build() == "pure Python: no C compiler works here"


@pytest.mark.either
def test_auto_falls_back_where_no_compiler_works() -> None:
    done = backend("print(plankroad_build.decide())", PLANKROAD_BUILD="auto", CC="/nonexistent/cc")
    assert done.returncode == 0, done.stderr
    assert "no C compiler works here" in done.stdout


@pytest.mark.either
def test_compiled_is_refused_where_no_compiler_works_and_says_what_to_install() -> None:
    done = backend("plankroad_build.decide()", PLANKROAD_BUILD="compiled", CC="/nonexistent/cc")
    assert done.returncode != 0
    assert "PLANKROAD_BUILD=compiled, but no C compiler works here" in done.stderr
    assert "apt-get install gcc python3-dev" in done.stderr


@pytest.mark.either
def test_pure_asks_for_no_compiler_and_no_mypy() -> None:
    program = "print(plankroad_build._requirements([]), plankroad_build.decide())"
    done = backend(program, PLANKROAD_BUILD="pure", CC="/nonexistent/cc")
    assert done.stdout.strip() == "[] PLANKROAD_BUILD=pure", done.stderr


@pytest.mark.either
def test_another_value_of_the_variable_is_an_error() -> None:
    done = backend("plankroad_build.mode()", PLANKROAD_BUILD="fast")
    assert done.returncode != 0
    assert "PLANKROAD_BUILD='fast' is none of auto, compiled, pure" in done.stderr


@pytest.mark.either
def test_the_fallback_is_announced_in_one_line() -> None:
    done = backend("plankroad_build.announce('no C compiler works here')")
    assert done.stderr == "plankroad: built as pure Python, not compiled: no C compiler works here.\n"


@pytest.mark.either
def test_every_dependency_of_the_tests_is_listed_once() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "test_requirements.py")], capture_output=True, text=True, check=True
    )
    extras = [need for needs in PROJECT["project"]["optional-dependencies"].values() for need in needs]
    listed = [*PROJECT["dependency-groups"]["test"], *extras]
    assert done.stdout.split("\n")[:-1] == listed
    names = [re.split(r"[\[<>=]", need)[0] for need in [*listed, *PROJECT["project"]["dependencies"]]]
    assert len(names) == len(set(names))
