"""`plankroad paths --against linux` and `--sharing linux`."""

from __future__ import annotations

import json
import os

import pytest
from click.testing import CliRunner

from plankroad.cli.main import cli

CELL = ("--rate", "2Mbit", "--rtt", "10ms", "--seconds", "1")


def test_who_is_not_root_is_told_so_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    for option in ("--against", "--sharing"):
        result = CliRunner().invoke(cli, ["paths", *CELL, option, "linux"])
        assert result.exit_code == 1
        assert "comparing with Linux needs root" in result.output
        assert len(result.output.splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--against", "linux", "--sharing", "linux"), "give one of them"),
        (("--sharing", "linux", "--html", "page.html"), "no plots"),
        (("--sharing", "linux", "--rate", "1Gbit"), "up to 100 Mbit/s"),
        (("--sharing", "linux", "--bytes", "1MB"), "timed"),
        (("--against", "windows"), "'windows' is not"),
    ],
)
def test_what_cannot_be_is_said(options: tuple[str, ...], text: str) -> None:
    result = CliRunner().invoke(cli, ["paths", *CELL, *options])
    assert result.exit_code == 2
    assert text in result.output


@pytest.mark.root
def test_a_kernels_result_stands_under_linux() -> None:
    result = CliRunner().invoke(cli, ["paths", *CELL, "--loss", "0,1%", "--against", "linux", "--json"])
    assert result.exit_code == 0, result.output
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert [one["cell"]["loss"] for one in found] == [0, 0.01]
    for one in found:
        assert one["stack"] == "plankroad"
        assert one["linux"]["stack"] == "linux"
        for name in (
            "goodput_bps",
            "utilisation",
            "retransmitted_bytes",
            "rtos",
            "spurious",
            "queue_delay_ms",
            "jain",
        ):
            assert isinstance(one["linux"][name], int | float)
            assert isinstance(one[name], int | float)
        if one["linux"]["kept_real_time"]:
            assert 0.5 < one["goodput_bps"] / one["linux"]["goodput_bps"] < 2
    if any(one["linux"]["kept_real_time"] for one in found):
        assert "ours / Linux is 1.0 or more in" in result.stderr


@pytest.mark.root
def test_the_table_of_a_comparison_and_of_a_shared_queue() -> None:
    result = CliRunner().invoke(cli, ["paths", *CELL, "--against", "linux", "--seeds", "2"])
    assert result.exit_code == 0, result.output
    assert "ours /" in result.stdout
    # On a machine with too much to do nothing is compared, and that is said.
    said = " ".join(result.output.split())
    assert "cubic: ours / Linux is" in said or "too slow" in said, said
    result = CliRunner().invoke(cli, ["paths", *CELL, "--sharing", "linux"])
    assert result.exit_code == 0, result.output
    assert "Jain" in result.stdout
    assert "% Linux's" in result.stdout
    result = CliRunner().invoke(cli, ["paths", *CELL, "--sharing", "linux", "--algorithm", "ledbat"])
    assert result.exit_code == 1
    assert "this kernel has no congestion control 'ledbat'" in result.stderr.splitlines()[-1]
