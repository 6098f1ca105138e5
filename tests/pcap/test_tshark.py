"""Wireshark's tshark reads what we write: every packet dissected, none malformed, all checksums right."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from tests.pcap.traffic import (
    CLIENT4,
    CLIENT6,
    MAC_A,
    SERVER4,
    SERVER6,
    conversation,
    fragments4,
    fragments6,
    frame,
    ip,
    ping4,
    ping6,
    tcp,
    udp,
)

from plankroad.link.capture import CaptureWriter
from plankroad.pcap import INBOUND, LINKTYPE_RAW, OUTBOUND, UNKNOWN, CaptureReader, PcapWriter
from plankroad.pcap.flows import rebuild
from plankroad.wire.packet import GSO_TCPV4, Packet
from plankroad.wire.segment import ACK, PSH, Segment
from plankroad.wire.tcp import build_tcp

pytestmark = [pytest.mark.needs("tshark"), pytest.mark.either]

BAD = (
    "_ws.malformed || _ws.short || ip.checksum.status == 0 || tcp.checksum.status == 0 || udp.checksum.status == 0"
    " || icmp.checksum.status == 0 || icmpv6.checksum.status == 0"
)


def tshark(path: Path, *arguments: str) -> list[str]:
    """The lines that tshark prints, with every checksum verified."""
    command = ["tshark", "-n", "-r", str(path)]
    for protocol in ("ip", "tcp", "udp"):
        command += ["-o", f"{protocol}.check_checksum:TRUE"]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def fields(path: Path, *names: str) -> list[tuple[str, ...]]:
    arguments = ["-T", "fields", "-E", "separator=/t"]
    for name in names:
        arguments += ["-e", name]
    return [tuple(line.split("\t")) for line in tshark(path, *arguments)]


def offloaded(data: bytes) -> Packet:
    """A super-segment with a partial checksum, as the stack hands it to a link that cuts."""
    seg = Segment(40000, 80, 1, 1, ACK | PSH, 500, data)
    header = build_tcp(seg, CLIENT4, SERVER4, partial=True)
    head = ip(CLIENT4, SERVER4, 6, header + data)[:20] + header
    return Packet(head, data, gso_type=GSO_TCPV4, gso_size=1000, csum_start=20, csum_offset=16)


def everything() -> list[bytes]:
    packets = conversation(CLIENT4, SERVER4, b"GET / HTTP/1.0\r\n\r\n", b"HTTP/1.0 200 OK\r\n\r\n" + bytes(5000))
    packets += conversation(CLIENT6, SERVER6, b"q" * 3001, b"a" * 777)
    packets += [udp(CLIENT4, SERVER4, 50007, 50011, b"odd"), udp(CLIENT6, SERVER6, 50007, 50011, b"even")]
    packets += [ping4(b"hello"), ping6(b"hello!")]
    packets += fragments4(udp(CLIENT4, SERVER4, 50007, 50011, bytes(3000)), 1480)
    packets += fragments6(udp(CLIENT6, SERVER6, 50007, 50011, bytes(3000)), 1232)
    return packets


def test_no_packet_is_malformed_and_no_checksum_is_bad(tmp_path: Path) -> None:
    path = tmp_path / "all.pcapng"
    packets = everything()
    with CaptureWriter(path) as writer:
        eth0 = writer.add_interface("eth0", ethernet=True, mac=MAC_A, description="the wire")
        for n, packet in enumerate(packets):
            writer.write(n * 1_000, "tun0", packet)
            writer.write(n * 1_000 + 1, eth0, frame(packet, vlan=5 if n % 2 else 0))
        writer.write(10**9, "tun0", offloaded(bytes(range(250)) * 160))
        assert writer.packets == 2 * len(packets) + 1
    assert len(tshark(path)) == 2 * len(packets) + 1
    assert tshark(path, "-Y", BAD) == []
    # The checks bite: each kind of packet was verified, not passed over.
    for status in ("ip.checksum.status == 1", "tcp.checksum.status == 1", "udp.checksum.status == 1"):
        assert tshark(path, "-Y", status)
    assert len(tshark(path, "-Y", "tcp.len == 40000")) == 1


def test_a_damaged_packet_shows_and_says_why(tmp_path: Path) -> None:
    path = tmp_path / "damaged.pcapng"
    packets = conversation(CLIENT4, SERVER4, b"request", b"answer")
    with CaptureWriter(path) as writer:
        for n, packet in enumerate(packets):
            if n == 3:
                flipped = packet[:-1] + bytes([packet[-1] ^ 4])
                writer.write(n, "link", flipped, comment="damaged: 1 bit flipped")
            else:
                writer.write(n, "link", packet)
    assert fields(path, "frame.number", "tcp.checksum.status", "frame.comment")[3] == (
        "4",
        "0",
        "damaged: 1 bit flipped",
    )
    assert len(tshark(path, "-Y", BAD)) == 1


def test_interfaces_times_directions_and_comments(tmp_path: Path) -> None:
    path = tmp_path / "meta.pcapng"
    packet = ping4(b"x")
    with CaptureWriter(path, time_offset=1_700_000_000 * 10**9, comment="seed 7") as writer:
        writer.add_interface("left: client > r1")
        writer.write(1, "left: client > r1", packet, direction=OUTBOUND)
        writer.write(1_000_000_002, "right: r1 > server", packet, "dropped: queue full – 100 packets", INBOUND)
        writer.write(1_000_000_003, 0, Packet(packet[:20], packet[20:]))
    assert fields(
        path,
        "frame.time_epoch",
        "frame.interface_id",
        "frame.interface_name",
        "frame.packet_flags_direction",
        "frame.comment",
    ) == [
        ("1700000000.000000001", "0", "left: client > r1", "0x00000002", ""),
        ("1700000001.000000002", "1", "right: r1 > server", "0x00000001", "dropped: queue full – 100 packets"),
        ("1700000001.000000003", "0", "left: client > r1", "", ""),
    ]


def test_classic_pcap(tmp_path: Path) -> None:
    path = tmp_path / "a.pcap"
    packets = everything()
    with PcapWriter(path, LINKTYPE_RAW) as writer:
        for n, packet in enumerate(packets):
            writer.write(5_000_000_000 + n, packet)
    assert fields(path, "frame.time_epoch")[7] == ("5.000000007",)
    assert len(tshark(path)) == len(packets)
    assert tshark(path, "-Y", BAD) == []


def test_a_snaplen_is_not_an_error(tmp_path: Path) -> None:
    path = tmp_path / "short.pcapng"
    with CaptureWriter(path, snaplen=60) as writer:
        for n, packet in enumerate(everything()):
            writer.write(n, "tun0", packet)
    assert max(int(kept) for kept, _ in fields(path, "frame.cap_len", "frame.len")) == 60
    assert max(int(length) for _, length in fields(path, "frame.cap_len", "frame.len")) > 1000
    assert tshark(path, "-Y", "_ws.malformed") == []


@pytest.mark.parametrize("suffix", ["pcap", "nsecpcap", "pcapng"])
def test_we_read_what_wireshark_writes(tmp_path: Path, suffix: str) -> None:
    ours, theirs = tmp_path / "ours.pcapng", tmp_path / f"theirs.{suffix}"
    packets = [tcp(CLIENT4, SERVER4, (1, 2), 5, 6, ACK, b"data"), *conversation(CLIENT4, SERVER4, b"q" * 2000, b"a")]
    with CaptureWriter(ours) as writer:
        for n, packet in enumerate(packets):
            writer.write(n * 1_000_000, "tun0", packet, comment=f"packet {n}" if n else "", direction=INBOUND)
    tshark(ours, "-F", suffix, "-w", str(theirs))
    with CaptureReader(theirs, strict=True) as reader:
        found = list(reader)
        assert reader.format == ("pcapng" if suffix == "pcapng" else "pcap")
    assert [(p.time, p.data) for p in found] == [(n * 1_000_000, packet) for n, packet in enumerate(packets)]
    if suffix == "pcapng":
        assert found[1].comments == ["packet 1"]
        assert found[1].direction == INBOUND
        assert reader.interfaces[0].name == "tun0"
    else:
        assert found[1].direction == UNKNOWN
    assert rebuild(found).tcp[1].is_complete()
