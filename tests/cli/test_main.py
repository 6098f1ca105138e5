"""The command group: version, help, errors, exit statuses."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from plankroad._build import version
from plankroad.cli import demo
from plankroad.cli import main as group
from plankroad.cli.errors import Failure, describe, one_line
from plankroad.cli.main import COMMANDS, cli


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "plankroad", *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def test_the_version_tells_which_build_it_is() -> None:
    done = run("--version")
    assert done.returncode == 0
    assert done.stdout == version() + "\n"


def test_help_lists_every_command_without_importing_any() -> None:
    program = """
import sys
from click.testing import CliRunner
from plankroad.cli.main import cli
for words in (["--help"], ["--version"]):
    result = CliRunner().invoke(cli, words)
    assert result.exit_code == 0, result.output
print(result.output, sorted(name for name in sys.modules if name.startswith(("plankroad.", "rich", "h11", "asyncio"))))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout[done.stdout.index("[") :].strip("[]\n").replace("'", "").split(", "))
    assert {one.split(".")[1] for one in loaded if one.startswith("plankroad.")} <= {
        "_build",
        "cli",
        "units",
        "core__mypyc",
    }
    assert not [one for one in loaded if one.startswith(("rich", "h11", "asyncio"))]
    text = CliRunner().invoke(cli, ["--help"]).output
    for name, (_, summary) in COMMANDS.items():
        assert f"  {name} " in text
        assert summary.split()[0] in text


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_each_command_is_there_and_has_help(name: str) -> None:
    result = CliRunner().invoke(cli, [name, "--help"])
    assert result.exit_code == 0, result.output
    assert result.output.startswith(f"Usage: cli {name}")


@pytest.mark.parametrize("words", [["nonsense"], ["demo", "--nonsense"], ["ping"], ["--nonsense"]])
def test_wrong_usage_is_exit_status_2(words: list[str]) -> None:
    done = run(*words)
    assert done.returncode == 2
    assert "Error: " in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_failure_is_one_line_and_exit_status_1() -> None:
    done = run("demo", "--bytes", "10", "--pcap", "/nonexistent/capture.pcapng")
    assert done.returncode == 1
    assert done.stderr == "Error: /nonexistent/capture.pcapng: No such file or directory\n"


def test_output_that_nobody_reads_is_no_traceback() -> None:
    program = subprocess.Popen(
        [sys.executable, "-m", "plankroad", "demo", "--bytes", "1000"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert program.stdout is not None
    assert program.stderr is not None
    program.stdout.close()
    said = program.stderr.read()
    assert program.wait(60) == 1
    assert said == b""
    program.stderr.close()


@pytest.mark.parametrize("words", [[], ["--json"]])
def test_a_full_disk_is_one_line(words: list[str]) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "plankroad", "demo", "--bytes", "1000", *words],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == "Error: No space left on device\n"


@pytest.mark.parametrize("good", [True, False])
def test_what_a_command_exits_with_is_the_exit_status(
    good: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["plankroad", "demo", "--bytes", "1000", "--json"])
    monkeypatch.setattr(demo, "equal", lambda outcome: good)
    with pytest.raises(SystemExit) as caught:
        group.main()
    assert caught.value.code == (0 if good else 1)
    assert capsys.readouterr().err == ""


def test_an_interrupt_is_exit_status_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(group.cli, "main", interrupted)
    with pytest.raises(SystemExit) as caught:
        group.main()
    assert caught.value.code == 128 + signal.SIGINT
    assert capsys.readouterr().err == ""


def test_errors_are_told_without_numbers() -> None:
    with pytest.raises(Failure, match=r"^/nonexistent: No such file or directory$"), one_line():
        open("/nonexistent").close()
    with pytest.raises(Failure, match=r"^too many$"), one_line():
        raise ValueError("too many")
    assert describe(TimeoutError(110, "Connect call failed ('10.0.0.1', 7)")).startswith(
        "Connection timed out (connect"
    )
    assert describe(OSError("no number")) == "no number"
    assert describe(TimeoutError()) == "TimeoutError"
    assert issubclass(Failure, click.ClickException)


def test_a_broken_pipe_is_left_to_the_group() -> None:
    with pytest.raises(BrokenPipeError), one_line():
        raise BrokenPipeError(32, "Broken pipe")


def test_python_minus_m_is_the_same_program() -> None:
    done = run("demo", "--bytes", "1000", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["equal"] is True
    assert done.stderr == ""
