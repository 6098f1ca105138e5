"""Packet scripts as tests of pytest: each `.pkt` file that pytest is shown is a test.

    # conftest.py, of the folder that pytest is run in; or: pytest -p plankroad.packetdrill.pytest_plugin
    pytest_plugins = ["plankroad.packetdrill.pytest_plugin"]

    # pytest.ini, all of it optional
    [pytest]
    packet_profile = linux
    packet_defines = RTT=.05
    packet_commands = tests/commands.py

A script passes if every expectation is met, and nothing that the stack sent is left at the end. What is not applicable
is skipped, with the reason. Within a test, `check_script` runs a script's text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from plankroad.packetdrill.outcome import FAILED, NOT_APPLICABLE, Outcome
from plankroad.packetdrill.suite import SUFFIX, RunOptions, run_file, run_text


def check_script(text: str, profile: str = "", defines: Mapping[str, str] | None = None) -> Outcome:
    """Run a script's text on plankroad's stack. Raises AssertionError, with what was expected and what came."""
    outcome = run_text(text, options=RunOptions(profile, defines=dict(defines or {})))
    if outcome.status == FAILED:
        raise AssertionError(outcome.text())
    return outcome


class NotMetInScript(Exception):  # noqa: N818
    """A script failed: its outcome."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.why)
        self.outcome = outcome


class ScriptItem(pytest.Item):
    """A script as a test."""

    def runtest(self) -> None:
        """Run it."""
        outcome = run_file(str(self.path), _options(self.config))
        if outcome.status == NOT_APPLICABLE:
            pytest.skip(outcome.why)
        if outcome.status == FAILED:
            raise NotMetInScript(outcome)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The outcome, without a traceback of this file."""
        if isinstance(excinfo.value, NotMetInScript):
            return excinfo.value.outcome.text()
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int, str]:
        """Where it is."""
        return self.path, 0, self.name


class ScriptFile(pytest.File):
    """A `.pkt` file."""

    def collect(self) -> Iterator[ScriptItem]:
        """Its one test."""
        yield ScriptItem.from_parent(self, name=self.path.stem)


def pytest_addoption(parser: pytest.Parser) -> None:
    """What pytest.ini may say."""
    parser.addini("packet_profile", "profile of packet scripts: a name that is built in, or a file", default="")
    parser.addini("packet_defines", "defines of packet scripts: NAME=VALUE, one a line", type="linelist")
    parser.addini("packet_commands", "Python files that tell what commands in backticks mean", type="paths")


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> ScriptFile | None:
    """Take what is a script."""
    return ScriptFile.from_parent(parent, path=file_path) if file_path.suffix == SUFFIX else None


def _options(config: pytest.Config) -> RunOptions:
    defines: dict[str, str] = {}
    for line in config.getini("packet_defines"):
        name, _, value = line.partition("=")
        defines[name.strip()] = value.strip()
    return RunOptions(
        config.getini("packet_profile"), [str(path) for path in config.getini("packet_commands")], defines
    )
