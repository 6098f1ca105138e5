"""`plankroad demo`: the story, its report, its reproducibility."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import pty
import random
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tests.volume import volume

from plankroad.cli.demo_report import as_dict
from plankroad.cli.demo_scenario import Demo, Outcome, Source, Weather, equal
from plankroad.cli.main import cli
from plankroad.pcap import read_capture
from plankroad.units import MILLISECOND

SMALL = ["--bytes", "150kB"]


def demo(*words: str) -> Result:
    return CliRunner().invoke(cli, ["demo", *words])


def report(*words: str) -> dict[str, Any]:
    result = demo(*words, "--json")
    assert result.exit_code == 0, result.output
    assert result.stdout.count("\n") == 1
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_the_json_object_has_what_is_promised() -> None:
    found = report(*SMALL)
    for name in ("sha256_sent", "sha256_received", "sha256_at_server"):
        assert len(found[name]) == 64
    assert found["sha256_sent"] == found["sha256_received"] == found["sha256_at_server"]
    assert found["equal"] is True
    assert found["bytes"] == found["bytes_back"] == 150_000
    assert 0 < found["transfer_seconds"] < found["virtual_seconds"]
    assert found["real_seconds"] > 0
    assert len(found["trace_hash"]) == 32
    assert found["dropped"] == sum(found["dropped_by_cause"].values()) > 0
    assert found["retransmitted"] == sum(found["retransmitted_by_cause"].values()) > 0
    assert found["dropped_by_cause"]["cut"] > 0
    for name in ("corrupted", "duplicated", "reordered"):
        assert isinstance(found[name], int)


def test_the_same_seed_is_the_same_run_bit_for_bit() -> None:
    first, again, other = report(*SMALL, "--seed", "5"), report(*SMALL, "--seed", "5"), report(*SMALL, "--seed", "6")
    del first["real_seconds"], again["real_seconds"]
    assert first == again
    assert first["trace_hash"] != other["trace_hash"]
    assert first["sha256_sent"] != other["sha256_sent"]


def test_a_file_is_carried(tmp_path: Path) -> None:
    data = random.Random(3).randbytes(70_001)
    file = tmp_path / "file with spaces"
    file.write_bytes(data)
    found = report(str(file))
    assert found["bytes"] == 70_001
    assert found["sha256_received"] == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("size", [0, 1, 3000])
def test_sizes_that_leave_no_room_for_the_story(size: int) -> None:
    found = report("--bytes", str(size))
    assert found["bytes_back"] == size
    assert (found["route_cut_at"] is None) == (size == 0)


def test_a_quiet_network_loses_nothing() -> None:
    found = report("--bytes", "500kB", "--loss", "0", "--reorder", "0", "--duplicate", "0", "--corrupt", "0")
    assert set(found["dropped_by_cause"]) <= {"cut"}
    assert found["corrupted"] == found["duplicated"] == 0


def test_the_options_are_what_the_routes_are_like() -> None:
    weather = Weather(
        rate=5_000_000, delay=7 * MILLISECOND, loss=0.1, reorder=0.2, duplicate=0.3, corrupt=0.4, seed=9
    )
    play = Demo(weather, Source(1))
    for route in play.routes:
        for direction in (route.there, route.back):
            conditions = direction.conditions
            assert conditions.rate == 5_000_000
            assert conditions.delay == 7 * MILLISECOND
            assert (conditions.loss, conditions.reorder) == (0.1, 0.2)
            assert (conditions.duplicate, conditions.corrupt) == (0.3, 0.4)
            assert conditions.reorder_delay > 0


def test_each_fault_by_itself_is_seen_and_overcome() -> None:
    quiet = ["--bytes", "300kB", "--loss", "0", "--reorder", "0", "--duplicate", "0", "--corrupt", "0"]
    assert report(*quiet, "--loss", "5%")["dropped_by_cause"]["random"] > 0
    assert report(*quiet, "--duplicate", "5%")["duplicated"] > 0
    assert report(*quiet, "--reorder", "5%")["reordered"] > 0
    damaged = report(*quiet, "--corrupt", "5%")
    assert damaged["corrupted"] > 0
    # One bit in a packet: every one that arrives is found, by IP's header checksum or by TCP's.
    caught = sum(damaged["corrupted_caught"].values())
    assert 0 <= damaged["corrupted"] - caught <= damaged["dropped_by_cause"]["cut"] + damaged["duplicated"]


def test_the_route_dies_and_heals_in_mid_transfer() -> None:
    found = report("--bytes", "1MB")
    assert 0 < found["route_cut_at"] < found["route_healed_at"] < found["transfer_seconds"]
    packets = found["route_packets"]
    assert 0 < packets["north"] < packets["south"]


def test_memory_does_not_grow_with_the_transfer() -> None:
    def kept(size: int) -> int:
        play = Demo(Weather(rate=0, loss=0.001, reorder=0, duplicate=0, corrupt=0), Source(size))
        assert equal(play.run())
        watcher = play.watcher
        return len(watcher._pending) + len(watcher._recent) + len(watcher._ladder.steps) + len(watcher._best)

    assert kept(volume(6_000_000, 2_000_000)) < 2 * 1024


def test_the_page_shows_the_ladders_and_the_table(tmp_path: Path) -> None:
    result = demo("--bytes", "400kB")
    assert result.exit_code == 0, result.output
    page = result.stdout
    for title in ("The handshake", "A loss and its recovery", "The close", "One segment through the layers"):
        assert f"\n{title}\n" in page
    assert " SYN  seq 0 " in page
    assert " SYN ACK  seq 0  ack 1 " in page
    recovery = page[page.index("A loss and") : page.index("The close")]
    assert "lost: " in recovery
    assert "retransmission" in recovery
    close = page[page.index("The close") : page.index("\nbytes  ")]
    assert close.count("FIN ACK  seq") >= 2
    for row in ("virtual time", "real time", "routes", "dropped", "retransmitted", "SHA-256 sent", "equal"):
        assert row in page
    assert max(len(line) for line in page.splitlines()) <= 120
    assert "\x1b" not in page


def test_the_close_is_in_four_steps_with_data_on_the_half_closed_connection() -> None:
    play = Demo(Weather(loss=0, reorder=0, duplicate=0, corrupt=0), Source(20_000))
    assert equal(play.run())
    (_, close), *_ = [part for part in play.watcher.drawings(100, True) if part[0] == "The close"]
    arrows = [line for line in close.splitlines()[1:] if "FIN" in line or "ACK" in line]
    first = next(i for i, line in enumerate(arrows) if "FIN" in line)
    assert "->|" in arrows[first]
    acknowledgement, digest, fin = (line for line in arrows[first:] if "<-" in line)
    assert "ack 20002" in acknowledgement
    assert "FIN" not in acknowledgement
    assert "(64)" in digest
    assert "FIN ACK  seq 20065" in fin
    assert "ack 20066" in arrows[-1]
    assert "->|" in arrows[-1]


def test_a_capture_holds_every_packet_with_comments_on_those_that_met_with_something(tmp_path: Path) -> None:
    file = tmp_path / "demo.pcapng"
    found = report("--bytes", "100kB", "--corrupt", "2%", "--pcap", str(file))
    packets = read_capture(file)
    comments = [comment for packet in packets for comment in packet.comments]
    assert sum(comment.startswith("dropped: ") for comment in comments) == found["dropped"]
    assert sum("damaged" in comment for comment in comments) == found["corrupted"]


@pytest.mark.needs("tshark")
def test_tshark_finds_nothing_wrong_but_what_the_network_damaged(tmp_path: Path) -> None:
    file = tmp_path / "demo.pcapng"
    found = report("--bytes", "200kB", "--corrupt", "3%", "--pcap", str(file))
    words = ["tshark", "-n", "-r", str(file), "-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE"]
    words += ["-Y", "_ws.malformed || ip.checksum.status == 0 || tcp.checksum.status == 0"]
    words += ["-T", "fields", "-e", "frame.interface_name", "-e", "frame.comment"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    bad = [line.partition("\t") for line in done.stdout.splitlines()]
    damaged = [comment for _, _, comment in bad if "damaged" in comment]
    assert len(damaged) == found["corrupted"] > 10
    # A router does not look into TCP: what a route damaged there is seen once more, on the link to the host.
    carried_on = [name for name, _, comment in bad if not comment]
    assert len(carried_on) == found["corrupted_caught"]["tcp"]
    assert set(carried_on) <= {"client-west", "east-server"}
    assert len(bad) == len(damaged) + len(carried_on)


def test_a_terminal_sees_progress_and_ctrl_c_ends_it() -> None:
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm"}
    words = [sys.executable, "-m", "plankroad", "demo", "--bytes", "1GB"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=theirs, env=environment)
    os.close(theirs)
    try:
        said = b""
        while said.count(b"virtual seconds") < 3:
            assert select.select([ours], [], [], 30)[0], said
            said += os.read(ours, 65536)
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(OSError):  # a terminal that nobody has open any more
            while piece := os.read(ours, 65536):
                said += piece
        assert process.wait(30) == 130
        assert process.stdout is not None
        assert process.stdout.read() == b""
    finally:
        process.kill()
        process.communicate()
        os.close(ours)
    assert b"there and back" in said
    assert b"Traceback" not in said, said.decode()


def good() -> Outcome:
    digest = "ab" * 32
    return Outcome(5, 5, digest, digest, digest, digest)


def test_equal_means_equal_everywhere() -> None:
    assert equal(good())
    for name in ("sha256_sent", "sha256_at_server", "sha256_reported", "sha256_received"):
        for other in ("cd" * 32, ""):
            bad = good()
            setattr(bad, name, other)
            assert not equal(bad), name
    assert not equal(dataclasses.replace(good(), bytes_back=4))
    assert not equal(Outcome())
    assert as_dict(dataclasses.replace(good(), bytes_back=4), Weather())["equal"] is False


def test_bytes_that_differ_are_exit_status_1(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Source.read

    def spoiled(self: Source, limit: int) -> bytes:
        data = whole(self, limit)
        return data[:-1] + bytes([data[-1] ^ 1]) if data else data

    # What is sent is not what the digest was made of.
    monkeypatch.setattr(Source, "read", spoiled)
    for words in ([], ["--json"]):
        result = demo("--bytes", "10kB", *words)
        assert result.exit_code == 1
        assert ("NOT EQUAL" if not words else '"equal": false') in result.stdout


def test_a_network_that_carries_nothing_is_one_line() -> None:
    result = demo("--loss", "1")
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "Connection timed out" in result.stderr
    assert "virtual seconds" in result.stderr
    assert result.stdout == ""


def test_what_is_no_regular_file_is_told_and_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path in (str(fifo), "/dev/zero"):
        result = demo(path)
        assert result.exit_code == 1
        assert result.stderr == f"Error: {path}: not a regular file; how long it is must be known before it is sent\n"
        assert result.stdout == ""


def test_a_file_that_shrinks_is_told(tmp_path: Path) -> None:
    file = tmp_path / "shrinks"
    file.write_bytes(b"x" * 100)
    with file.open("rb") as stream:
        source = Source(200, stream)
        assert len(source.read(64) + source.read(64)) == 100
        with pytest.raises(OSError, match="100 bytes are missing"):
            source.read(64)


@pytest.mark.parametrize(
    "words",
    [
        ["--loss", "2"],
        ["--rate", "slow"],
        ["--delay", "-1ms"],
        ["--bytes", "many"],
        ["/nonexistent"],
        ["--bytes", "5", __file__],
        ["--seed", "x"],
        [str(Path(__file__).parent)],
    ],
)
def test_bad_values_are_usage_errors(words: list[str]) -> None:
    result = demo(*words)
    assert result.exit_code == 2
    assert "Error: " in result.stderr
