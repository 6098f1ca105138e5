"""What every test relies on: which build is under test, where root-only tests can run, how hypothesis behaves.

Markers (pyproject.toml registers them):

- `root`: needs root, /dev/net/tun and `ip`; such tests never run side by side.
- `needs("tshark", ...)`: needs these programs.
- `slow`: takes more than a few seconds.
- `either`: cannot depend on whether plankroad is compiled; `make test` runs it once.

Where a machine lacks what a test needs, the test is left out and one line says so; where CI is set, it fails.
"""

from __future__ import annotations

import functools
import os
import shutil
import signal
import sys

import pytest
from hypothesis import settings

import plankroad
from plankroad import units
from plankroad._build import build

#: Every random test prints how to run it again; no verdict depends on the speed of the machine. The examples are the
#: same in every run, so that a failure belongs to the change that made it; PLANKROAD_EXPLORE=1 looks for new ones.
settings.register_profile(
    "plankroad", deadline=None, print_blob=True, derandomize=not os.environ.get("PLANKROAD_EXPLORE")
)
settings.load_profile("plankroad")

# A shell that runs `make test &` has it ignore Ctrl-C, and so would every program that a test starts to interrupt it.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

EXPECT = "PLANKROAD_EXPECT"


def in_ci() -> bool:
    return os.environ.get("CI", "").lower() in ("1", "true", "yes")


@functools.cache
def root_obstacles() -> list[str]:
    """Why tests marked `root` cannot run here; empty where they can."""
    found: list[str] = []
    if not sys.platform.startswith("linux"):
        return [f"{sys.platform} is not Linux"]
    if os.geteuid() != 0:
        found.append("not root")
    if not os.path.exists("/dev/net/tun"):
        found.append("/dev/net/tun is missing (modprobe tun)")
    elif os.geteuid() == 0:
        try:
            os.close(os.open("/dev/net/tun", os.O_RDWR))
        except OSError as error:
            found.append(f"/dev/net/tun cannot be opened ({error.strerror})")
    if shutil.which("ip") is None:
        found.append("ip is missing (apt-get install iproute2)")
    return found


def missing_programs(item: pytest.Item) -> list[str]:
    """Programs that the item's `needs` markers name and that are not on the PATH."""
    names = [str(name) for marker in item.iter_markers("needs") for name in marker.args]
    return [name for name in names if shutil.which(name) is None]


def pytest_configure(config: pytest.Config) -> None:
    # `PYTHONPATH=src pytest`: programs that tests start in other directories find the same plankroad.
    if os.environ.get("PYTHONPATH"):
        places = os.environ["PYTHONPATH"].split(os.pathsep)
        os.environ["PYTHONPATH"] = os.pathsep.join(os.path.abspath(place) for place in places)
    expected = os.environ.get(EXPECT, "")
    if expected not in ("", "pure", "compiled"):
        raise pytest.UsageError(f"{EXPECT}={expected!r} is neither pure nor compiled")
    if expected and plankroad.is_compiled() != (expected == "compiled"):
        raise pytest.UsageError(f"{EXPECT}={expected}, but plankroad was imported from {units.__file__}")


def lacking(item: pytest.Item) -> list[str]:
    """Why the item cannot run on this machine; empty if it can."""
    found = [f"{name} is missing" for name in missing_programs(item)]
    return [*root_obstacles(), *found] if item.get_closest_marker("root") is not None else found


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("root") is not None and item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group("root"))
    if in_ci():
        return  # they run, and fail
    left_out = [item for item in items if lacking(item)]
    if left_out:
        items[:] = [item for item in items if not lacking(item)]
        config.hook.pytest_deselected(items=left_out)


def pytest_runtest_setup(item: pytest.Item) -> None:
    reasons = lacking(item) if in_ci() else []
    if reasons:
        pytest.fail(
            f"CI is set and this test cannot run here: {', '.join(reasons)}. "
            "On Debian scripts/install-debian-packages installs what the tests need.",
            pytrace=False,
        )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.write_line(f"Under test: plankroad {plankroad.__version__}, {build()}.")
    obstacles = root_obstacles()
    if obstacles and not in_ci():
        terminalreporter.write_line(
            f"Root-only tests were left out ({'; '.join(obstacles)}): `sudo make test` runs them too."
        )
    programs = [name for name in ("curl", "tshark") if shutil.which(name) is None]
    if programs and not in_ci():
        terminalreporter.write_line(
            f"Tests that need {' and '.join(programs)} were left out: scripts/install-debian-packages installs them."
        )
