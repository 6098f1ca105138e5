"""Interpreted classes inherit only from those compiled ones that allow it.

mypyc refuses such a subclass when it is defined or first made, in the compiled build alone; here the source tells.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from .import_rules import module_name
from .test_build import PATTERNS

pytestmark = pytest.mark.either

ROOT = Path(__file__).resolve().parents[2]
ALLOWANCE = "mypyc_attr(allow_interpreted_subclasses=True)"


def compiled_files(root: Path, patterns: list[str]) -> set[Path]:
    package = root / "src" / "plankroad"
    return {path for pattern in patterns for path in package.glob(pattern) if path.name != "__init__.py"}


def names_imported(tree: ast.Module) -> dict[str, str]:
    """Local names of what a file imports by absolute name: {"Link": "plankroad.link.base.Link"}."""
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                found[alias.asname or alias.name] = f"{node.module}.{alias.name}"
        elif isinstance(node, ast.Import):
            for alias in node.names:
                found[alias.asname or alias.name] = alias.name
    return found


def resolve(base: str, names: dict[str, str], re_exports: dict[str, str]) -> str:
    """The full name of a base class as written, through the re-exports of packages."""
    head, _, rest = base.partition(".")
    full = names.get(head, head) + (f".{rest}" if rest else "")
    while full in re_exports:
        full = re_exports[full]
    return full


def breaches(root: Path, patterns: list[str]) -> list[str]:
    """Every interpreted class with a compiled base that does not allow it, as `path:line: what is wrong`."""
    compiled = compiled_files(root, patterns)
    sources = [path for folder in ("src", "tests") for path in sorted((root / folder).rglob("*.py"))]
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sources}
    closed: set[str] = set()  # compiled classes without the allowance
    re_exports: dict[str, str] = {}
    for path, tree in trees.items():
        if not path.is_relative_to(root / "src"):
            continue
        module = module_name(root / "src", path)
        if path.name == "__init__.py":
            re_exports.update({f"{module}.{local}": full for local, full in names_imported(tree).items()})
        if path in compiled:
            for statement in tree.body:
                if isinstance(statement, ast.ClassDef):
                    allowed = any(ast.unparse(decorator) == ALLOWANCE for decorator in statement.decorator_list)
                    # Exceptions and protocols are ordinary Python classes for mypyc too.
                    ordinary = any(
                        base.endswith(("Error", "Exception", "Protocol"))
                        for base in map(ast.unparse, statement.bases)
                    )
                    if not allowed and not ordinary:
                        closed.add(f"{module}.{statement.name}")
    found: list[str] = []
    for path, tree in trees.items():
        if path in compiled:
            continue
        names = names_imported(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                for base in node.bases:
                    full = resolve(ast.unparse(base), names, re_exports)
                    if full in closed:
                        where = f"{path.relative_to(root).as_posix()}:{node.lineno}"
                        found.append(
                            f"{where}: {node.name} inherits from the compiled {full}, which needs @{ALLOWANCE}"
                        )
    return found


def test_compiled_classes_that_are_subclassed_allow_it() -> None:
    found = breaches(ROOT, PATTERNS)
    assert not found, "\n" + "\n".join(found)


def test_the_checker_finds_a_forbidden_subclass(tmp_path: Path) -> None:
    package = tmp_path / "src" / "plankroad"
    for room in ("tcp", "aio"):
        (package / room).mkdir(parents=True)
    (package / "tcp" / "__init__.py").write_text("from plankroad.tcp.base import Closed, Open\n")
    (package / "tcp" / "base.py").write_text(
        "from plankroad.compat import mypyc_attr\n"
        "class Closed: pass\n"
        "@mypyc_attr(allow_interpreted_subclasses=True)\n"
        "class Open: pass\n"
        "class Bad(ValueError): pass\n"
    )
    (package / "tcp" / "more.py").write_text("from plankroad.tcp.base import Closed\nclass Same(Closed): pass\n")
    (package / "aio" / "user.py").write_text(
        "from plankroad.tcp import Closed, Open\n"
        "from plankroad.tcp.base import Bad, Closed as Other\n"
        "import plankroad.tcp.base\n"
        "class A(Closed): pass\n"
        "class B(Open): pass\n"
        "class C(Other): pass\n"
        "class D(Bad): pass\n"
        "class E(plankroad.tcp.base.Closed): pass\n"
    )
    lines = [line.split(": ")[0] for line in breaches(tmp_path, ["tcp/*.py"])]
    assert lines == ["src/plankroad/aio/user.py:4", "src/plankroad/aio/user.py:6", "src/plankroad/aio/user.py:8"]
