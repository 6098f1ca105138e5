#!/usr/bin/env python3
"""Print what the tests need, one requirement a line: the dependency group `test` of pyproject.toml.

pip reads dependency groups itself only since 25.1, and a fresh virtual environment often has an older one.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

with open(Path(__file__).resolve().parent.parent / "pyproject.toml", "rb") as file:
    project = tomllib.load(file)
print("\n".join(project["dependency-groups"]["test"]))
