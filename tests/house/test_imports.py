"""Imports point upward in the list of rooms, and the core reaches nothing outside itself."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .import_rules import ORDER, RANK, check

pytestmark = pytest.mark.either

ROOT = Path(__file__).resolve().parents[2]


def test_every_import_points_upward() -> None:
    breaches = check(ROOT / "src")
    assert not breaches, "\n" + "\n".join(breaches)


def test_the_order_is_the_one_that_the_architecture_tells() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    rooms = [name.strip("`/").split("/")[0] for cell in table for name in re.findall(r"`[^`]+`", cell)]
    told = [room for room in dict.fromkeys(rooms) if room in RANK]
    assert told == [name for names in ORDER for name in names if name in told]
    assert {"wire", "tcp", "udp", "ip", "stack", "link", "aio", "sim", "testing", "cli"} <= set(told)


@pytest.mark.parametrize(
    ("file", "source", "complaint"),
    [
        ("wire/a.py", "from plankroad.tcp.tcb import Tcb", "tcp is below wire"),
        ("wire/a.py", "import plankroad.stack.stack", "stack is below wire"),
        ("wire/a.py", "from plankroad import stack", "stack is below wire"),
        ("wire/a.py", "from ..tcp import tcb", "tcp is below wire"),
        ("tcp/cc/a.py", "from ...ip.routes import Route", "ip is below tcp"),
        ("tcp/__init__.py", "from ..ip import routes", "ip is below tcp"),
        ("units.py", "from plankroad.wire import packet", "wire is below units"),
        (
            "tcp/a.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from plankroad.aio.driver import Driver",
            "aio is below tcp",
        ),
        ("tcp/a.py", "def f() -> None:\n    from plankroad.aio import driver", "aio is below tcp"),
        ("tcp/a.py", "import importlib\nx = importlib.import_module('plankroad.aio')", "aio is below tcp"),
        ("wire/a.py", "from plankroad.attic import thing", "in no room"),
        ("attic/a.py", "x = 1", "in no room"),
        ("wire/a.py", "from plankroad import __version__", "name the room"),
        ("__init__.py", "from plankroad.tcp import tcb", "make it lazy"),
        ("tcp/a.py", "import numpy", "third-party"),
        ("link/a.py", "from click import echo", "third-party"),
        ("sim/a.py", "import rich.console", "third-party"),
        ("tcp/a.py", "import time", "reaches nothing outside"),
        ("ip/a.py", "from time import monotonic_ns", "reaches nothing outside"),
        ("stack/a.py", "import asyncio", "reaches nothing outside"),
        ("udp/a.py", "import socket", "reaches nothing outside"),
        ("trace/a.py", "import logging.handlers", "reaches nothing outside"),
        ("tcp/a.py", "import random\nx = random.random()", "random.random"),
        ("tcp/a.py", "from random import randrange", "random.randrange"),
        ("tcp/a.py", "import random\nx = random.Random()", "without a seed"),
        ("tcp/a.py", "import os\nx = os.urandom(4)", "os.urandom"),
    ],
)
def test_the_checker_finds(tmp_path: Path, file: str, source: str, complaint: str) -> None:
    init = tmp_path / "plankroad" / "__init__.py"
    init.parent.mkdir()
    init.write_text("__version__ = '1'\n")
    path = tmp_path / "plankroad" / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source + "\n")
    breaches = check(tmp_path)
    assert len(breaches) == 1, breaches
    assert breaches[0].startswith(f"plankroad/{file}:")
    assert complaint in breaches[0]


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("tcp/a.py", "from plankroad.wire.segment import Segment\nfrom plankroad.tcp.cc import base"),
        (
            "tcp/a.py",
            "import random\ndef f(r: random.Random) -> random.Random:\n    return random.Random(r.random())",
        ),
        ("tcp/a.py", "from __future__ import annotations\nimport hashlib\nfrom typing import Final"),
        ("cli/a.py", "import click\nfrom plankroad import __version__\nimport time"),
        ("aio/a.py", "import asyncio\nimport time\nfrom plankroad.link.base import Link"),
        ("__init__.py", "from plankroad._build import is_compiled"),
        (
            "__init__.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from plankroad.aio.open import open_tun",
        ),
    ],
)
def test_the_checker_allows(tmp_path: Path, file: str, source: str) -> None:
    path = tmp_path / "plankroad" / file
    path.parent.mkdir(parents=True)
    path.write_text(source + "\n")
    init = tmp_path / "plankroad" / "__init__.py"
    if not init.exists():
        init.write_text("__version__ = '1'\n")
    assert check(tmp_path) == []
