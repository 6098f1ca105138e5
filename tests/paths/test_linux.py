"""Cells with the kernel's TCP: two namespaces and the emulator between them, in real time."""

from __future__ import annotations

import contextlib
import itertools
import os
import select
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from plankroad.paths.cell import Cell, parse_cell
from plankroad.paths.emulator import Clock, Hurry
from plankroad.paths.ground import LEFT, RIGHT, KernelError, KernelGround, check_ground
from plankroad.paths.linux import MAX_RATE, KernelRun, kernel_run, run_linux, trace_linux
from plankroad.paths.virtual import VirtualRun
from plankroad.units import MILLISECOND, SECOND

#: In a process of its own: it goes into the namespace of another one.
INSIDE = """
import ctypes, os, socket, struct, sys, time
def enter(pid):
    fd = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
    assert ctypes.CDLL(None).setns(fd, 0x40000000) == 0
    os.close(fd)
os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(5))
"""

#: Echo requests (RFC 792), each after the answer to the one before; prints the round trips in nanoseconds. It does not
#: sleep while it waits: to be woken takes a tenth of a millisecond on an idle machine.
PING = """
enter(sys.argv[1])
sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
sock.setblocking(False)
for i in range(int(sys.argv[3])):
    body = struct.pack("!BBHHH", 8, 0, 0, 77, i) + bytes(56)
    total = sum(struct.unpack(f"!{len(body) // 2}H", body))
    total = (total & 0xFFFF) + (total >> 16)
    begin = time.monotonic_ns()
    sock.sendto(body[:2] + struct.pack("!H", ~total & 0xFFFF) + body[4:], (sys.argv[2], 0))
    while True:
        try:
            answer = sock.recv(2000)
        except BlockingIOError:
            assert time.monotonic_ns() - begin < 5_000_000_000
            continue
        if answer[20] == 0 and answer[26:28] == struct.pack("!H", i):
            break
    print(time.monotonic_ns() - begin, flush=True)
"""

#: UDP as fast as the device takes it, for some seconds.
BLAST = """
enter(sys.argv[1])
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
end = time.monotonic() + float(sys.argv[3])
while time.monotonic() < end:
    for _ in range(20):
        sock.sendto(bytes(1472), (sys.argv[2], 9))
    time.sleep(0.005)
"""


def inside(program: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", INSIDE + program, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@contextlib.contextmanager
def emulated(cell: Cell) -> Iterator[tuple[KernelRun, KernelGround]]:
    """The cell's path between two kernels, emulated in a thread until the block ends."""
    run = KernelRun(cell)
    with KernelGround() as ground:
        run.connect(ground)
        stop, end = os.pipe()
        run.emulator.stop_fds.append(stop)

        def emulate() -> None:
            with Hurry():
                run.emulator.run(time.monotonic_ns(), 60 * SECOND)

        thread = threading.Thread(target=emulate)
        thread.start()
        try:
            yield run, ground
        finally:
            os.write(end, b".")
            thread.join()
            os.close(stop)
            os.close(end)


@pytest.mark.root
def test_a_ping_takes_the_round_trip_of_the_cell() -> None:
    for rtt in (10, 80):
        with emulated(Cell(rate=100_000_000, rtt=rtt * MILLISECOND)) as (_, ground):
            process = inside(PING, str(ground.left.process.pid), RIGHT, "25")
            output, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        times = sorted(int(line) for line in output.split())
        assert len(times) == 25
        # 84 bytes take 7 us at 100 Mbit/s; the devices and the emulator add some tenths of a millisecond
        # (docs/paths-linux.md). What a busy machine adds is never less than nothing: the quickest of the pings tells
        # the path's own time, and no ping can be quicker than the path.
        assert rtt * MILLISECOND <= times[0] <= (rtt + 0.5) * MILLISECOND, times


@pytest.mark.root
def test_what_floods_the_path_gets_its_rate() -> None:
    cell = parse_cell(rate="20Mbit", rtt="10ms", queue="4bdp")
    with emulated(cell) as (run, ground):
        process = inside(BLAST, str(ground.left.process.pid), RIGHT, "2.5")
        marks: list[tuple[int, int]] = []
        begin = time.monotonic_ns()
        for second in (0.5, 0.8, 1.1, 1.4, 1.7, 2.0, 2.3):
            time.sleep(second - (time.monotonic_ns() - begin) / SECOND)
            marks.append((time.monotonic_ns(), received(ground.right.process.pid)))
        process.communicate(timeout=60)
    assert run.there.pipe.counters.lost_queue > 0
    rates = [
        (after - before) * 8 * SECOND / (end - start) for (start, before), (end, after) in itertools.pairwise(marks)
    ]
    # The median: where the machine holds up one look at the counter, the rates beside it are wrong both ways.
    assert statistics.median(rates) == pytest.approx(cell.rate, rel=0.02), rates


def received(pid: int) -> int:
    """Bytes that the device of a process's namespace has handed to its kernel."""
    for line in Path(f"/proc/{pid}/net/dev").read_text().splitlines():
        name, _, columns = line.partition(":")
        if name.strip() == "path":
            return int(columns.split()[0])
    raise AssertionError("no device")


@pytest.mark.root
def test_a_cell_draws_the_same_chances_as_in_virtual_time() -> None:
    cell = parse_cell(
        rate="10Mbit", rtt="20ms", loss="2%", burst="1%:8", reorder="1%:5ms", queue="2bdp", seconds="1", seed="7"
    )
    run = KernelRun(cell)
    with KernelGround() as ground:
        run.connect(ground)
    virtual = VirtualRun(cell).link
    for mine, other in ((run.there, virtual.there), (run.back, virtual.back)):
        assert mine.pipe.name == other.pipe.name
        assert mine.conditions == other.conditions
        for fault in ("_loss", "_burst", "_reorder"):
            mine_rng, other_rng = getattr(mine, fault).rng, getattr(other, fault).rng
            assert [mine_rng.random() for _ in range(1000)] == [other_rng.random() for _ in range(1000)]
    assert len(run.there.pipe.before) == 2
    assert len(run.there.pipe.behind) == 1


@pytest.mark.root
def test_cubic_of_the_kernel_fills_a_path() -> None:
    cell = parse_cell(rate="5Mbit", rtt="20ms", queue="1bdp", algorithm="cubic", seconds="3")
    run = kernel_run(cell)
    result = run.result()
    assert result.stack == "linux"
    assert 0.8 < result.utilisation <= 1
    assert result.goodput_bps == result.delivered_bytes * 8 / 3
    assert result.per_flow[0].delivered_bytes == result.delivered_bytes
    assert result.rtos == 0
    assert result.lost_queue > 0
    assert result.retransmitted_bytes > 0
    assert result.spurious == 0
    assert 5 < result.queue_delay_ms < result.queue_delay_p95_ms <= result.queue_delay_max_ms < 25
    assert result.time_s == 3
    assert 3 <= result.real_s < 10
    # What the meter says of the packets, the kernel says of itself, but for what is not through the queue at the end.
    info = run.sent["infos"][0]
    assert abs(info["total_retrans"] - result.retransmitted_segments) <= 5
    assert type(result).of_dict(result.as_dict()) == result


@pytest.mark.root
def test_a_transfer_of_so_many_bytes_ends_when_they_are_there() -> None:
    result, series = trace_linux(
        parse_cell(rate="10Mbit", rtt="20ms", bytes="500kB", flows="2", algorithm="newreno+bbr", seconds="20")
    )
    assert result.delivered_bytes == 1_000_000
    assert result.completion_s is not None
    assert 0.8 < result.completion_s < 3
    assert result.time_s == result.completion_s
    assert all(flow.completion_s is not None and flow.delivered_bytes == 500_000 for flow in result.per_flow)
    assert [flow.algorithm for flow in result.per_flow] == ["newreno", "bbr"]
    rows = len(series.queue)
    assert rows == len(series.drops) == int(result.time_s * SECOND) // series.step
    for flow in series.flows:
        assert {len(flow.cwnd), len(flow.in_flight), len(flow.srtt), len(flow.pacing), len(flow.delivered)} == {rows}
        assert max(flow.cwnd) > 14480
        assert 20 * MILLISECOND < max(flow.srtt) < SECOND
    assert max(series.queue) > 10_000


@pytest.mark.root
def test_two_flows_share_and_are_measured_as_ours_are() -> None:
    result = run_linux(parse_cell(rate="5Mbit", rtt="10ms", flows="2", algorithm="cubic", seconds="4", queue="2bdp"))
    assert len(result.per_flow) == 2
    assert result.per_flow[1].start_s > 0
    assert 0.5 < result.jain <= 1
    assert sum(flow.delivered_bytes for flow in result.per_flow) == result.delivered_bytes


class Sleepy(Clock):
    """A clock of an emulator that is not woken for a while, as on a machine with too much to do."""

    def wait(self, fds: Sequence[int], limit: int) -> Sequence[int]:
        found = super().wait(fds, limit)
        threading.Event().wait(0.01)
        return found


@pytest.mark.root
def test_a_starved_emulator_says_so() -> None:
    result = run_linux(parse_cell(rate="5Mbit", rtt="10ms", seconds="1"), Sleepy())
    assert result.kept_real_time is False
    assert any("did not keep real time" in note for note in result.notes)


@pytest.mark.root
def test_nothing_is_left_and_the_machines_own_network_is_untouched() -> None:
    def seen() -> tuple[set[str], str, str]:
        return (
            set(os.listdir("/sys/class/net")),
            Path("/proc/net/route").read_text(),
            Path("/proc/sys/net/ipv4/tcp_wmem").read_text(),
        )

    before, fds = seen(), len(os.listdir("/proc/self/fd"))
    with KernelGround() as ground:
        assert seen() == before
        pids = [ground.left.process.pid, ground.right.process.pid]
        with pytest.raises(KernelError, match="no congestion control 'none-such'"):
            KernelRun(Cell(10**6, MILLISECOND, algorithms=("none-such",))).run(ground)
    assert not any(Path("/proc", str(pid)).exists() for pid in pids)
    assert len(os.listdir("/proc/self/fd")) == fds
    assert seen() == before


#: Says when it is under way; then it is interrupted.
INTERRUPTED = """
import sys
from plankroad.paths.cell import parse_cell
from plankroad.paths import linux
class Told(linux.KernelRun):
    def connect(self, ground):
        super().connect(ground)
        print(ground.left.process.pid, ground.right.process.pid, flush=True)
linux.KernelRun = Told
linux.run_linux(parse_cell(rate="1Mbit", rtt="10ms", seconds="60"))
"""


@pytest.mark.root
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_the_processes_end_with_the_one_that_made_them(number: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert process.stdout is not None
    handles = [os.pidfd_open(int(pid)) for pid in process.stdout.readline().split()]
    assert len(handles) == 2
    process.send_signal(number)
    process.wait(30)
    for handle in handles:
        with os.fdopen(handle):
            assert select.select([handle], [], [], 30)[0]


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "platform", "darwin")
        with pytest.raises(KernelError, match="needs Linux"):
            check_ground()
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(KernelError, match=r"needs root.*sudo"):
        check_ground()
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os.path, "exists", lambda path: False)
    with pytest.raises(KernelError, match="modprobe tun"):
        check_ground()


def test_a_rate_that_cannot_be_emulated_is_refused() -> None:
    with pytest.raises(KernelError, match="100 Mbit/s"):
        run_linux(Cell(rate=MAX_RATE + 1, rtt=MILLISECOND))


@pytest.mark.root
def test_ends_have_their_addresses() -> None:
    with KernelGround() as ground:
        assert (ground.left.address, ground.right.address) == (LEFT, RIGHT)
        assert {"cubic", "reno"} <= set(ground.left.algorithms)
