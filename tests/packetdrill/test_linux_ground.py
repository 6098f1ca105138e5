"""The kernel as a script's ground: what it does, what it must not pass, and that it leaves nothing behind."""

from __future__ import annotations

import os
import select
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from plankroad.cli.packetdrill import packetdrill
from plankroad.packetdrill.errors import ScriptError
from plankroad.packetdrill.ground import Settings
from plankroad.packetdrill.kernel_host import Nursery, decode, encode
from plankroad.packetdrill.linux import LinuxGround
from plankroad.packetdrill.suite import LINUX, RunOptions, run_text
from plankroad.testing.call import BadBuffer, SockName
from plankroad.units import MILLISECOND, SECOND

KERNEL = RunOptions(against=LINUX)

CONNECTED = """
    0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
   +0 bind(3, ..., ...) = 0
   +0 listen(3, 1) = 0
   +0 < S 0:0(0) win 65535 <mss 1000>
   +0 > S. 0:0(0) ack 1 <mss 1460>
   +0 < . 1:1(0) ack 1 win 65535
   +0 accept(3, ..., ...) = 4
"""


def test_arguments_go_to_the_other_process_and_back_unchanged() -> None:
    values = [1, -1, None, "x", b"\x00\xff", BadBuffer(7), SockName(2, b"\x7f\x00\x00\x01", 80), [b"a", 2]]
    back = decode(encode(values))
    assert [v.size if isinstance(v, BadBuffer) else v for v in back] == [
        v.size if isinstance(v, BadBuffer) else v for v in values
    ]


@pytest.mark.root
def test_a_script_passes_on_the_kernel_and_fails_with_another_number() -> None:
    script = CONNECTED + "   +0 write(4, ..., 100) = 100\n   +0 > P. 1:101(100) ack 1\n"
    outcome = run_text(script, options=KERNEL)
    assert outcome.passed, outcome.text()
    for right, wrong in (("= 100", "= 99"), ("1:101(100) ack 1", "1:101(100) ack 2"), ("<mss 1460>", "<mss 1461>")):
        outcome = run_text(script.replace(right, wrong), options=KERNEL)
        assert not outcome.passed, f"{wrong} passes"


@pytest.mark.root
def test_a_call_that_waits_returns_when_a_packet_lets_it() -> None:
    script = CONNECTED + "   +0...0.15 read(4, ..., 1000) = 50\n  +.15 < P. 1:51(50) ack 1 win 65535\n"
    outcome = run_text(script + "   +0 > . 1:1(0) ack 51\n", options=KERNEL)
    assert outcome.passed, outcome.text()
    outcome = run_text(script.replace("0...0.15", "0...1"), options=KERNEL)
    assert not outcome.passed
    assert "read returned at the wrong time" in outcome.text()


@pytest.mark.root
def test_commands_are_run_in_the_namespace_and_change_nothing_outside() -> None:
    name = Path("/proc/sys/net/ipv4/tcp_synack_retries")
    before = name.read_text()
    ground = LinuxGround(Settings())
    try:
        assert ground.command("sysctl -q -w net.ipv4.tcp_synack_retries=2").status == 0
        assert ground.command("cat /proc/sys/net/ipv4/tcp_synack_retries").output == "2\n"
        assert "192.168.0.1/16" in ground.command("ip -4 address show").output
        assert ground.command("exit 3").status == 3
    finally:
        ground.close()
    assert name.read_text() == before


@pytest.mark.root
@pytest.mark.parametrize("text", ["sysctl -w kernel.panic=0", "echo 0 > /proc/sys/vm/swappiness"])
def test_what_is_the_machines_is_left_alone(text: str) -> None:
    ground = LinuxGround(Settings())
    try:
        with pytest.raises(ScriptError, match="left alone"):
            ground.command(text)
    finally:
        ground.close()


@pytest.mark.root
def test_tcp_info_is_the_kernels() -> None:
    outcome = run_text(
        CONNECTED + "   +0 %{ assert tcpi_state == 1 and tcpi_snd_mss == 1000, (tcpi_state, tcpi_snd_mss) }%\n",
        options=KERNEL,
    )
    assert outcome.passed, outcome.text()


@pytest.mark.root
def test_the_clock_does_not_run_while_commands_prepare_the_script() -> None:
    outcome = run_text("`sleep 0.3`\n" + CONNECTED, options=KERNEL)
    assert outcome.passed, outcome.text()


def called(ground: LinuxGround, name: str, *arguments: Any) -> int:
    """What a system call that does not wait returned, when it has: the kernel's host is another process."""
    call = ground.start(name, *arguments)
    assert ground.wait_call(call, ground.now() + 10 * SECOND)
    assert not call.errno, call
    return call.value


@pytest.mark.root
def test_the_host_ends_with_its_ground_though_a_call_waits() -> None:
    ground = LinuxGround(Settings())
    try:
        process = int(ground.command("echo $PPID").output)
        handle = os.pidfd_open(process)
        fd = called(ground, "socket", 2, 1, 6)
        assert called(ground, "bind", fd, SockName(2, ground.settings.local, 8080)) == 0
        assert called(ground, "listen", fd, 1) == 0
        waiting = ground.start("accept", fd)
        ground.advance(ground.now() + 10 * MILLISECOND)
        assert not waiting.done
    finally:
        ground.close()
    try:
        assert select.select([handle], [], [], 10)[0], f"process {process} goes on"
    finally:
        os.close(handle)


@pytest.mark.root
def test_hosts_of_one_nursery_are_apart() -> None:
    with Nursery() as nursery:
        first, second = LinuxGround(Settings(), nursery), LinuxGround(Settings(), nursery)
        try:
            for ground in (first, second):
                fd = called(ground, "socket", 2, 1, 6)
                assert called(ground, "bind", fd, SockName(2, ground.settings.local, 8080)) == 0
        finally:
            first.close()
            second.close()


@pytest.mark.root
def test_scripts_find_the_name_of_their_run_in_commands() -> None:
    ground = LinuxGround(Settings())
    try:
        assert ground.command("test -n $PACKETDRILL_PID").status == 0
    finally:
        ground.close()


def test_without_root_the_command_says_so_in_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = tmp_path / "one.pkt"
    script.write_text(CONNECTED)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    result = CliRunner().invoke(packetdrill, ["--against", "linux", str(script)])
    assert result.exit_code == 1
    assert result.output.count("\n") == 1
    assert "needs root" in result.output
