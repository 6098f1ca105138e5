"""The core (wire tcp udp ip stack sim), and the rings around it but the command line, import with nothing installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import plankroad

SITE = Path(plankroad.__file__).resolve().parents[1]

#: Import every module of the named rooms in a Python without site-packages, where whatever is neither ours nor the
#: standard library's cannot be imported, should it lie beside us.
PROGRAM = """
import importlib, importlib.abc, pkgutil, sys

class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top != "plankroad" and top not in sys.stdlib_module_names:
            raise ImportError(f"{name} is not in the standard library")
        return None

sys.meta_path.insert(0, Refuse())
sys.path.append(sys.argv[1])
count = 0
for room in sys.argv[2:]:
    package = importlib.import_module("plankroad." + room)
    count += 1
    for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        importlib.import_module(found.name)
        count += 1
print(count)
strangers = {name.partition(".")[0] for name in sys.modules} - set(sys.stdlib_module_names) - {"plankroad", "__main__"}
sys.exit(f"imported: {sorted(strangers)}" if strangers - {"__mp_main__"} else 0)
"""


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    # -I: neither PYTHONPATH nor the current directory; -S: no site-packages.
    command = [sys.executable, "-I", "-S", "-c", program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize(
    "room", ["wire", "trace", "pcap", "tcp", "udp", "ip", "stack", "link", "aio", "sim", "paths"]
)
def test_a_room_imports_without_any_third_party_package(room: str) -> None:
    done = run(PROGRAM, str(SITE), room)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 1


def test_the_refusal_works(tmp_path: Path) -> None:
    (tmp_path / "stranger.py").write_text("")
    package = tmp_path / "plankroad" / "wire"
    package.mkdir(parents=True)
    (tmp_path / "plankroad" / "__init__.py").write_text("")
    (package / "__init__.py").write_text("import stranger\n")
    done = run(PROGRAM, str(tmp_path), "wire")
    assert done.returncode != 0
    assert "stranger is not in the standard library" in done.stderr


def test_importing_the_package_loads_no_room() -> None:
    program = """
import sys
sys.path.append(sys.argv[1])
import plankroad
rooms = {name for name in sys.modules if name.count(".") == 1 and name.startswith("plankroad.")}
print(sorted(rooms))
"""
    done = run(program, str(SITE))
    assert done.returncode == 0, done.stderr
    loaded = {name.strip(" '[]\n") for name in done.stdout.split(",")}
    assert loaded <= {"plankroad._build", "plankroad.units", "plankroad.core__mypyc"}
