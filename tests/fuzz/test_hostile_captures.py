"""Captures as hostile input, a small synthetic version: `scripts/feed_captures.py` does it with those of others."""

from __future__ import annotations

import gzip
import random
from pathlib import Path

import pytest
from tests.fuzz.hostile import Totals, feed_file, rewrites
from tests.fuzz.seeds import capture_files
from tests.stack.net import B4, B6
from tests.stack.samples import SAMPLES
from tests.volume import volume

from plankroad.pcap import LINKTYPE_ETHERNET, LINKTYPE_RAW, PcapWriter
from plankroad.wire.ethernet import build_ethernet
from plankroad.wire.ipv4 import parse_ipv4
from plankroad.wire.ipv6 import parse_ipv6


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Good captures, of raw IP and of Ethernet, plain and compressed."""
    found = []
    for number, data in enumerate(capture_files()):
        path = tmp_path / f"good{number}.pcap"
        path.write_bytes(data)
        found.append(path)
    for link_type in (LINKTYPE_RAW, LINKTYPE_ETHERNET):
        path = tmp_path / f"samples{link_type}.pcap"
        with PcapWriter(path, link_type) as writer:
            for number, sample in enumerate(SAMPLES):
                kind = 0x0800 if sample[0] >> 4 == 4 else 0x86DD
                head = build_ethernet(bytes(6), bytes(6), kind) if link_type == LINKTYPE_ETHERNET else b""
                writer.write(number * 1_000_000, head + sample)
        found.append(path)
    path = tmp_path / "good.pcap.gz"
    path.write_bytes(gzip.compress(found[0].read_bytes()))
    return [*found, path]


def test_good_captures(files: list[Path]) -> None:
    totals = Totals()
    for path in files:
        feed_file(path, totals)
    assert totals.failures == []
    assert totals.refused == totals.broken == []
    assert totals.packets > 2 * len(SAMPLES) + 20
    assert totals.flows["tcp"] >= 3
    assert totals.answers > 10
    assert "0 failures" in totals.report()


def test_damaged_captures(files: list[Path], tmp_path: Path) -> None:
    totals = Totals()
    path = tmp_path / "damaged"
    for seed in range(volume(200, 30)):
        rng = random.Random(f"damaged capture {seed}")
        data = bytearray(rng.choice(files).read_bytes())
        for _ in range(rng.randrange(1, 20)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        path.write_bytes(data[: rng.randrange(len(data))] if rng.random() < 0.3 else data)
        feed_file(path, totals, f"seed {seed}")
    assert totals.failures == []
    assert totals.refused
    assert totals.broken


def test_what_is_raised_is_told() -> None:
    def bad() -> None:
        raise IndexError("beyond the end")

    totals = Totals()
    totals.timed("parsers", "a.pcap", 7, bad)
    assert totals.failures == ["a.pcap packet 7, parsers: IndexError: beyond the end"]
    assert "1 failures" in totals.report()


def test_a_packet_is_rewritten_so_that_it_is_for_us() -> None:
    for sample in SAMPLES:
        for packet in rewrites(sample):
            if packet[0] >> 4 == 4:
                assert parse_ipv4(packet).dst == B4
            else:
                assert parse_ipv6(packet).dst == B6
