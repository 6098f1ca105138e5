"""docs/packet-scripts.md, the language: its scripts pass, its tables are what the parser and the packets know."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from plankroad.packetdrill import icmp_names
from plankroad.packetdrill.expressions import evaluate
from plankroad.packetdrill.outcome import FAILED, PASSED
from plankroad.packetdrill.parser import parse_script
from plankroad.packetdrill.settings import settings_of
from plankroad.packetdrill.suite import run_text
from plankroad.packetdrill.syntax import Syscall, Tcp, TcpOption

from .wiring import packet_of

PAGE = (Path(__file__).parents[2] / "docs" / "packet-scripts.md").read_text()
LANGUAGE = PAGE.partition("## The language\n")[2].partition("\n## ")[0]
SCRIPTS = re.findall(r"^```pkt\n(.*?)^```$", LANGUAGE, re.MULTILINE | re.DOTALL)


def section(title: str) -> str:
    return LANGUAGE.partition(f"### {title}\n")[2].partition("\n### ")[0]


def cells(title: str, column: int) -> list[str]:
    """What stands in backquotes in a column of the tables of a section."""
    found: list[str] = []
    for line in section(title).splitlines():
        parts = re.split(r" ?\| ?", line.replace("\\|", "\0"))
        if line.startswith("|") and len(parts) > column + 1:
            found += [word.replace("\0", "|") for word in re.findall(r"`([^`]+)`", parts[column + 1])]
    return found


@pytest.mark.parametrize("number", range(len(SCRIPTS)))
def test_the_scripts_of_the_page_pass(number: int) -> None:
    outcome = run_text(SCRIPTS[number], f"script {number}")
    assert outcome.status == PASSED, f"{outcome.text()}\n{outcome.detail}"


def test_there_are_scripts_and_they_can_fail() -> None:
    assert len(SCRIPTS) >= 10
    outcome = run_text(SCRIPTS[0].replace("ack 1002", "ack 1003"), "the first script, spoilt")
    assert outcome.status == FAILED
    assert "expected > . 2:2(0) ack 1003" in outcome.why


def test_a_define_of_the_command_line_wins() -> None:
    (script,) = [script for script in SCRIPTS if "#ifdef SLOW" in script]
    assert parse_script(script, "t", {"SLOW": ""}).events[5].time.start == 500_000_000
    assert parse_script(script, "t").events[5].time.start == 50_000_000


@pytest.mark.either
def test_the_options_of_the_page_are_known() -> None:
    options = [word for word in cells("Options, defines", 0) if not word.startswith("--define")]
    assert len(options) == 14
    values = {
        "--local_ip=": "10.0.0.1",
        "--remote_ip=": "10.0.0.2",
        "--gateway_ip=": "10.0.0.3",
        "--netmask_ip=": "24",
    }
    script = parse_script("\n".join([option + values.get(option, "") for option in options]), "t")
    settings_of(script.options)


@pytest.mark.either
def test_the_times_of_the_page_are_times() -> None:
    times = cells("Times", 0)
    assert len(times) == 7
    for time in times:
        parse_script(f"{time} close(3) = 0", "t")


@pytest.mark.either
def test_the_options_of_tcp_are_those_of_the_page() -> None:
    found: list[TcpOption] = []
    for text in cells("TCP options", 0):
        body = packet_of(f"> . 1:1(0) ack 1 <{text}>").body
        assert isinstance(body, Tcp)
        found += body.options or []
    names = {"nop", "eol", "mss", "wscale", "TS", "sackOK", "sack", "FO", "FOEXP", "md5", "ECN", "raw"}
    assert {option.name for option in found} == names


@pytest.mark.either
def test_the_fields_of_ip_are_those_of_the_page() -> None:
    for text in cells("IP fields", 0):
        direction = "<" if "bad" in text else ">"
        packet_of(f"{direction} {text} . 1:1(0) ack 1")
    assert {text.split()[0].strip("[]") for text in cells("IP fields", 0)} == {
        *("noecn", "ect0", "ect1", "ce", "tos", "ttl", "flowlabel", "bad_ip_sum", "bad_sum")
    }


@pytest.mark.either
def test_the_names_of_icmp_are_those_of_the_page() -> None:
    version = 0
    types: dict[int, set[str]] = {4: set(), 6: set()}
    codes: dict[tuple[int, int], set[str]] = {}
    for line in section("UDP, ICMP").splitlines():
        columns = [column.strip() for column in line.split("|")[1:-1]]
        if len(columns) != 3 or not columns[1].startswith("`"):
            continue
        version = int(columns[0][-1]) if columns[0] else version
        names = re.findall(r"`(\w+)`", columns[1])
        types[version].update(names)
        if columns[2]:
            (name,) = names
            codes[version, icmp_names.TYPES[version][name]] = set(re.findall(r"`(\w+)`", columns[2]))
    assert types == {version: set(names) for version, names in icmp_names.TYPES.items()}
    assert codes == {key: set(names) for key, names in icmp_names.CODES.items()}


@pytest.mark.either
def test_the_values_of_the_page_have_values() -> None:
    texts = cells("System calls", 1)
    assert len(texts) >= 20
    for text in texts:
        action = parse_script(f"0 f({text}) = 0", "t").events[0].action
        assert isinstance(action, Syscall)
        evaluate(action.arguments[0])
