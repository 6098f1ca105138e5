"""`plankroad packetdrill`: what it prints, and its exit status."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from plankroad.cli.main import cli

GOOD = """
    0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
   +0 bind(3, ..., ...) = 0
   +0 listen(3, 1) = 0
   +0 < S 0:0(0) win 65535 <mss 1000>
   +0 > S. 0:0(0) ack 1 <mss SIZE>
  +.1 < . 1:1(0) ack 1 win 65535
   +0 accept(3, ..., ...) = 4
   +0 close(4) = 0
   +0 > F. 1:1(0) ack 1
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three scripts: two that pass where SIZE is 1460, and one that does not."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "good.pkt").write_text(GOOD, encoding="utf-8")
    (tmp_path / "a" / "other.pkt").write_text(GOOD.replace("mss 1000", "mss 900"), encoding="utf-8")
    (tmp_path / "bad.pkt").write_text(GOOD.replace("> F.", "> R."), encoding="utf-8")
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["packetdrill", *arguments], standalone_mode=False)


def test_a_failure_is_a_line_with_its_place_and_both_sides(folder: Path) -> None:
    result = run(str(folder), "--define", "SIZE=1460", "--jobs", "2")
    assert result.return_value == 1
    lines = result.stdout.splitlines()
    assert lines[0].startswith(f"{folder}/bad.pkt:10: expected > R. 1:1(0) ack 1, the stack sent > F. 1:1(0) ack 1")
    assert any("flags" in line and "<--" in line for line in lines)
    assert lines[-1].startswith("2 passed, 1 failed, 0 not applicable; 3 scripts in ")


def test_status_0_where_all_pass(folder: Path) -> None:
    result = run(str(folder / "a"), "-D", "SIZE=1460")
    assert result.return_value == 0
    assert result.stdout.startswith("2 passed, 0 failed, 0 not applicable")
    assert "good.pkt: passed" in run(str(folder / "a"), "-D", "SIZE=1460", "-v").stdout


def test_json_is_one_object(folder: Path) -> None:
    result = run(str(folder), "--json", "--define", "SIZE=1460")
    assert result.return_value == 1
    told = json.loads(result.stdout)
    assert (told["passed"], told["failed"], told["not_applicable"]) == (2, 1, 0)
    assert [script["status"] for script in told["scripts"]] == ["passed", "passed", "failed"]
    last = told["scripts"][-1]
    assert last["file"] == str(folder / "bad.pkt")
    assert last["why"].startswith("line 10: expected > R.")


def test_what_cannot_be_read_is_a_failure_with_its_place(folder: Path) -> None:
    result = run(str(folder / "a" / "good.pkt"))
    assert result.return_value == 1
    assert "good.pkt:6:" in result.stdout
    assert "SIZE" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere.pkt"], "nowhere.pkt: no such file or directory"),
        ([], "Missing argument"),
        (["--define", "1=2", "."], "1=2"),
        (["--jobs", "0", "."], "0"),
        (["--against", "minix", "."], "minix"),
        (["--commands", "nowhere.py", "."], "nowhere.py"),
        (["EMPTY"], "there is no .pkt file"),
        (["FILE", "--profile", "minix"], "minix"),
        (["FILE", "--profile", "linux", "--against", "linux"], "--profile"),
    ],
)
def test_wrong_usage_is_status_2(arguments: list[str], said: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "one.pkt").write_text(GOOD, encoding="utf-8")
    places = {"EMPTY": str(tmp_path / "empty"), "FILE": str(tmp_path / "one.pkt")}
    arguments = [places.get(word, word) for word in arguments]
    result = CliRunner().invoke(cli, ["packetdrill", *arguments])
    assert result.exit_code == 2
    assert said in result.output


def test_commands_can_be_told_by_a_file(folder: Path) -> None:
    script = folder / "command.pkt"
    script.write_text("0 `frobnicate 3`\n", encoding="utf-8")
    result = run(str(script))
    assert result.return_value == 1
    assert "frobnicate" in result.stdout
    told = folder / "commands.py"
    told.write_text(
        "from plankroad.packetdrill.shell import Result\n"
        "def frobnicate(machine, words, stdin):\n"
        "    return Result(0 if words[1] == '3' else 1)\n"
        "COMMANDS = {'frobnicate': frobnicate}\n",
        encoding="utf-8",
    )
    assert run(str(script), "--commands", str(told)).return_value == 0


def test_options_of_scripts_on_the_command_line(folder: Path) -> None:
    script = folder / "mtu.pkt"
    script.write_text(GOOD.replace("SIZE", "1360"), encoding="utf-8")
    assert run(str(script)).return_value == 1
    assert run(str(script), "--mtu", "1400").return_value == 0


def test_what_is_left_at_the_end_is_looked_at_where_asked(folder: Path) -> None:
    script = folder / "left.pkt"
    script.write_text(GOOD.rsplit("   +0 > F.", 1)[0], encoding="utf-8")
    assert run(str(script), "-D", "SIZE=1460").return_value == 0
    result = run(str(script), "-D", "SIZE=1460", "--strict-end")
    assert result.return_value == 1
    assert "at the end a packet is left that nobody expected: > F. 1:1(0) ack 1" in result.stdout
