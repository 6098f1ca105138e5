"""Packet scripts as tests of pytest, and within tests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import plankroad
from plankroad.packetdrill.pytest_plugin import check_script

GOOD = """
    0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
   +0 close(FD) = 0
"""
BAD = """
    0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
   +0 bind(3, ..., ...) = 0
   +0 listen(3, 1) = 0
   +0 < S 0:0(0) win 65535 <mss 1000>
   +0 > S. 0:0(0) ack 2 <mss 1460>
"""
INI = """
[pytest]
addopts = -p plankroad.packetdrill.pytest_plugin
packet_defines = FD=3
packet_profile = linux
"""


@pytest.mark.either
def test_each_script_is_a_test_and_a_failure_shows_both_sides(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text(INI, encoding="utf-8")
    (tmp_path / "good.pkt").write_text(GOOD, encoding="utf-8")
    (tmp_path / "bad.pkt").write_text(BAD, encoding="utf-8")
    source = str(Path(plankroad.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-v"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": source, "PYTEST_ADDOPTS": "", "PYTEST_PLUGINS": ""},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "good.pkt::good PASSED" in done.stdout, done.stdout + done.stderr
    assert "bad.pkt::bad FAILED" in done.stdout
    assert "bad.pkt:6: expected > S. 0:0(0) ack 2" in done.stdout
    assert "<--" in done.stdout
    assert "1 failed, 1 passed" in done.stdout


def test_a_script_within_a_test() -> None:
    assert check_script(GOOD, defines={"FD": "3"}).passed
    with pytest.raises(AssertionError, match=r"script:6: expected > S\. 0:0\(0\) ack 2"):
        check_script(BAD)
