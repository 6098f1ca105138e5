"""The rules of who may import whom, and the checker that reads them off the source.

The order of the rooms is the table "Rooms" of docs/architecture.md. A module may import from its own room and from
rooms above it, at any place in the file and under TYPE_CHECKING too.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

PACKAGE: Final = "plankroad"

#: From the top down. The names on one line are one room.
ORDER: Final = (
    ("_build", "units", "endpoint", "compat"),
    ("wire",),
    ("trace",),
    ("pcap",),
    ("tcp",),
    ("udp",),
    ("ip",),
    ("stack",),
    ("link",),
    ("aio",),
    ("sim",),
    ("testing",),
    ("paths",),
    ("packetdrill",),
    ("cli",),
    ("__main__",),
)

#: plankroad/__init__.py is run before any room, so it imports only what is above all of them; under TYPE_CHECKING,
#: which is not run, it may name any room.
INIT_ALLOWS: Final = ("_build", "units", "endpoint", "compat")

RANK: Final = {name: rank for rank, names in enumerate(ORDER) for name in names}

#: Rooms that may use what pip installs. All others run on the standard library alone.
THIRD_PARTY_ROOMS: Final = ("testing", "packetdrill", "cli")

#: The protocol machine: it is given the time and its randomness, and reaches nothing outside itself.
CORE: Final = ("units", "endpoint", "wire", "trace", "tcp", "udp", "ip", "stack")

#: Modules of the standard library that the core has no business with.
FORBIDDEN_IN_CORE: Final = frozenset(
    [
        "asyncio",
        "concurrent",
        "datetime",
        "logging",
        "multiprocessing",
        "secrets",
        "select",
        "selectors",
        "signal",
        "socket",
        "socketserver",
        "ssl",
        "subprocess",
        "threading",
        "time",
        "uuid",
    ]
)


class Found:
    """One import or use: what a file says, and where."""

    __slots__ = ("for_types", "line", "module", "path")

    def __init__(self, path: Path, line: int, module: str, for_types: bool) -> None:
        self.for_types = for_types
        self.path = path
        self.line = line
        self.module = module


def room_of(module: str) -> str:
    """The room of a module by its dotted name: `plankroad.tcp.cc.base` is of `tcp`, `plankroad` of `__init__`."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def module_name(root: Path, path: Path) -> str:
    """The dotted name of a file below `root`, the directory that holds the package."""
    parts = list(path.relative_to(root).with_suffix("").parts)
    if parts[-1] == "__init__":
        parts.pop()
    return ".".join(parts)


def imports(root: Path, path: Path, tree: ast.Module) -> Iterator[Found]:
    """Every module that a file imports, as absolute names; `from plankroad import a` gives `plankroad.a`."""
    name = module_name(root, path)
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        for module in _modules(node, package):
            yield Found(path, getattr(node, "lineno", 1), module, id(node) in for_types)


def _modules(node: ast.AST, package: str) -> list[str]:
    """The modules that one node of the tree imports, in a file of `package`."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*above, base] if base else above)
        # In `from plankroad import units` the names are what matters.
        return [f"{PACKAGE}.{alias.name}" for alias in node.names] if base == PACKAGE else [base]
    if isinstance(node, ast.Call) and ast.unparse(node.func) in ("__import__", "importlib.import_module"):
        argument = node.args[0] if node.args else None
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
            return [argument.value]
    return []


def _defined_in_init(root: Path) -> set[str]:
    """Names that plankroad/__init__.py itself binds: `from plankroad import __version__` imports no room."""
    init = root / PACKAGE / "__init__.py"
    found: set[str] = set()
    if init.exists():
        for node in ast.parse(init.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign):
                found.update(target.id for target in node.targets if isinstance(target, ast.Name))
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                found.add(node.target.id)
            elif isinstance(node, ast.FunctionDef | ast.ClassDef):
                found.add(node.name)
            elif isinstance(node, ast.ImportFrom):  # re-exported, as `is_compiled` is
                found.update(alias.asname or alias.name for alias in node.names)
    return found


def _check_import(found: Found, room: str, own_names: set[str]) -> str | None:
    parts = found.module.split(".")
    if parts[0] != PACKAGE:
        if parts[0] not in sys.stdlib_module_names and parts[0] not in ("_typeshed", "mypy_extensions"):
            if room not in THIRD_PARTY_ROOMS:
                return f"imports {found.module}: only {' and '.join(THIRD_PARTY_ROOMS)} may use third-party packages"
        elif room in CORE and parts[0] in FORBIDDEN_IN_CORE:
            return f"imports {found.module}: the core is given the time and its packets, it reaches nothing outside"
        return None
    if len(parts) == 1 or (len(parts) == 2 and parts[1] in own_names and parts[1] not in RANK):
        return (
            None if room in THIRD_PARTY_ROOMS or room == "__main__" else "imports the package's face: name the room"
        )
    target = parts[1]
    if target not in RANK:
        return f"imports {found.module}, which is in no room of import_rules.ORDER"
    if room == "__init__":
        return (
            None
            if target in INIT_ALLOWS or found.for_types
            else f"imports {found.module} before any room is needed: make it lazy"
        )
    if RANK[target] > RANK[room]:
        return f"imports {found.module}: {target} is below {room}"
    return None


def _check_random(path: Path, tree: ast.Module) -> Iterator[tuple[int, str]]:
    """The core may name the type `random.Random`; the global generator and self-seeded ones are not for it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "random":
            for alias in node.names:
                if alias.name != "Random":
                    yield node.lineno, f"imports random.{alias.name}: the core is given a random.Random"
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "random":
            if node.attr != "Random":
                yield node.lineno, f"uses random.{node.attr}: the core is given a random.Random"
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("random.Random", "Random") and not node.args:
            yield node.lineno, "makes a random.Random without a seed: the core is given one"
        elif (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and (node.value.id, node.attr) in (("os", "urandom"), ("os", "environ"), ("os", "getenv"))
        ):
            yield node.lineno, f"uses os.{node.attr}: the core is given all that it needs"


def check(root: Path) -> list[str]:
    """Every breach of the rules below `root`, the directory that holds the package, as `path:line: what is wrong`."""
    breaches: list[str] = []
    own_names = _defined_in_init(root)
    for path in sorted((root / PACKAGE).rglob("*.py")):
        room = room_of(module_name(root, path))
        where = path.relative_to(root).as_posix()
        if room not in RANK and room != "__init__":
            breaches.append(f"{where}:1: is in no room of import_rules.ORDER")
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
        for found in imports(root, path, tree):
            problem = _check_import(found, room, own_names)
            if problem is not None:
                breaches.append(f"{where}:{found.line}: {problem}")
        if room in CORE:
            breaches.extend(f"{where}:{line}: {problem}" for line, problem in _check_random(path, tree))
    return breaches
