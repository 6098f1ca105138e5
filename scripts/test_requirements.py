#!/usr/bin/env python3
"""Print what the tests need, one requirement a line: the dependency group `test` of pyproject.toml and all extras.

With the name of an extra (`paths`) or of a group (`fuzz`) only what that needs.
pip reads dependency groups itself only since 25.1, and a fresh virtual environment often has an older one.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

with open(Path(__file__).resolve().parent.parent / "pyproject.toml", "rb") as file:
    project = tomllib.load(file)
extras = project["project"]["optional-dependencies"]
if len(sys.argv) > 1:
    found = extras.get(sys.argv[1]) or project["dependency-groups"][sys.argv[1]]
else:
    found = [*project["dependency-groups"]["test"], *(need for needs in extras.values() for need in needs)]
print("\n".join(found))
