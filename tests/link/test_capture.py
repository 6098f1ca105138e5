"""Captures of links: both directions, checksums finished, traffic untouched."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from tests.pcap.traffic import CLIENT4, MAC_A, SERVER4, conversation, frame, ip, ping4

from plankroad.link.base import Link
from plankroad.link.capture import CaptureLink, CaptureWriter
from plankroad.pcap import INBOUND, LINKTYPE_ETHERNET, LINKTYPE_RAW, OUTBOUND, CaptureReader, read_capture
from plankroad.pcap.flows import rebuild
from plankroad.wire.packet import GSO_TCPV4, Packet
from plankroad.wire.segment import ACK, Segment
from plankroad.wire.tcp import build_tcp


class Recorder(Link):
    """A link whose far end is a list."""

    def __init__(self, name: str = "rec0", *, ethernet: bool = False, offload: bool = False) -> None:
        super().__init__(
            name,
            1400,
            ethernet=ethernet,
            mac=MAC_A if ethernet else b"",
            tx_csum=offload,
            gso_max_size=65535 if offload else 0,
        )
        self.sent: list[Packet] = []
        self.arrived: list[Packet] = []
        self.full = False
        self.closed = False
        self.notify: object = None

    def fileno(self) -> int:
        return 42

    def set_notify(self, callback: object) -> None:
        self.notify = callback

    def receive(self) -> list[Packet]:
        batch, self.arrived = self.arrived, []
        return batch

    def send(self, packet: Packet) -> bool:
        if self.full:
            return False
        self.sent.append(packet)
        return True

    def close(self) -> None:
        self.closed = True


def partial(data: bytes) -> Packet:
    seg = Segment(40000, 80, 1, 1, ACK, 500, data)
    header = build_tcp(seg, CLIENT4, SERVER4, partial=True)
    head = ip(CLIENT4, SERVER4, 6, header + data)[:20] + header
    return Packet(head, data, gso_type=GSO_TCPV4, gso_size=1000, csum_start=20, csum_offset=16)


def test_both_directions_with_times_and_the_same_objects_passed_on() -> None:
    out = io.BytesIO()
    link = Recorder()
    times = iter([11, 22, 33])
    tapped = CaptureLink(link, CaptureWriter(out), clock=lambda: next(times))
    outgoing = Packet(ping4(b"out")[:20], ping4(b"out")[20:])
    incoming = [Packet(ping4(b"in 1")), Packet(ping4(b"in 2"))]
    link.arrived = incoming
    assert tapped.send(outgoing)
    assert tapped.receive() == incoming
    assert link.sent == [outgoing]
    found = read_capture(io.BytesIO(out.getvalue()))
    assert [(p.time, p.direction, p.data) for p in found] == [
        (11, OUTBOUND, ping4(b"out")),
        (22, INBOUND, ping4(b"in 1")),
        (33, INBOUND, ping4(b"in 2")),
    ]


def test_it_is_like_the_link_inside() -> None:
    link = Recorder("eth7", ethernet=True, offload=True)
    out = io.BytesIO()
    tapped = CaptureLink(link, CaptureWriter(out))
    assert (tapped.name, tapped.mtu, tapped.ethernet, tapped.mac) == ("eth7", 1400, True, MAC_A)
    assert (tapped.tx_csum, tapped.gso_max_size, tapped.fileno()) == (True, 65535, 42)
    assert tapped.counters is link.counters

    def callback() -> None:
        pass

    tapped.set_notify(callback)
    assert link.notify is callback
    tapped.close()
    assert link.closed
    reader = CaptureReader(io.BytesIO(out.getvalue()))
    assert list(reader) == []
    assert [(i.name, i.link_type, i.mac) for i in reader.interfaces] == [("eth7", LINKTYPE_ETHERNET, MAC_A)]


def test_a_refused_packet_is_written_once_when_it_is_taken() -> None:
    out = io.BytesIO()
    link = Recorder()
    tapped = CaptureLink(link, CaptureWriter(out))
    packet = Packet(ping4(b"x"))
    link.full = True
    assert not tapped.send(packet)
    assert read_capture(io.BytesIO(out.getvalue())) == []
    link.full = False
    assert tapped.send(packet)
    assert len(read_capture(io.BytesIO(out.getvalue()))) == 1


def test_a_super_segment_is_one_packet_with_its_checksum_finished_in_the_capture_alone() -> None:
    out = io.BytesIO()
    link = Recorder(offload=True)
    tapped = CaptureLink(link, CaptureWriter(out))
    data = bytes(range(256)) * 20
    packet = partial(data)
    head = packet.head
    tapped.send(packet)
    assert link.sent[0] is packet
    assert packet.head == head
    assert packet.csum_start == 20
    (written,) = read_capture(io.BytesIO(out.getvalue()))
    assert written.original_length == 40 + len(data)
    flows = rebuild([written])
    assert flows.damaged == []
    assert flows.tcp[0].streams[0].data() == data


def test_several_links_share_a_capture_and_names_must_differ() -> None:
    out = io.BytesIO()
    writer = CaptureWriter(out)
    one, two = (CaptureLink(Recorder(name), writer) for name in ("one", "two"))
    two.send(Packet(ping4(b"2")))
    one.send(Packet(ping4(b"1")))
    assert [p.interface.name for p in read_capture(io.BytesIO(out.getvalue()))] == ["two", "one"]
    with pytest.raises(ValueError, match="an interface 'one' already"):
        CaptureLink(Recorder("one"), writer)


def test_a_capture_that_cannot_be_written_stops_and_the_traffic_goes_on() -> None:
    class Full(io.BytesIO):
        def write(self, data: object) -> int:
            if self.tell() > 300:
                raise OSError(28, "No space left on device")
            return super().write(data)  # type: ignore[arg-type]

    link = Recorder()
    tapped = CaptureLink(link, CaptureWriter(Full()))
    for _ in range(20):
        assert tapped.send(Packet(ping4(b"x")))
    assert len(link.sent) == 20
    assert isinstance(tapped.failed, OSError)
    assert tapped.failed.errno == 28


def test_a_closed_capture_does_not_stop_the_link() -> None:
    writer = CaptureWriter(io.BytesIO())
    link = Recorder()
    tapped = CaptureLink(link, writer)
    writer.close()
    assert tapped.send(Packet(ping4(b"x")))
    assert isinstance(tapped.failed, ValueError)


def test_a_checksum_field_outside_of_the_headers_is_shown_as_it_is() -> None:
    out = io.BytesIO()
    CaptureWriter(out).write(0, "a", Packet(ping4(b"x"), csum_start=500, csum_offset=2))
    (packet,) = read_capture(io.BytesIO(out.getvalue()))
    assert packet.data == ping4(b"x")
    assert "outside of the headers" in packet.comments[0]


def test_the_simulators_way_names_bytes_and_comments(tmp_path: Path) -> None:
    path = tmp_path / "sim.pcapng"
    with CaptureWriter(path, time_offset=5_000) as writer:
        number = writer.add_interface("a > b")
        for n, data in enumerate(conversation(CLIENT4, SERVER4, b"q", b"a")):
            writer.write(n, number if n % 2 else "a > b", data)
        writer.write(99, "b > c", Packet(ping4(b"x")), "dropped: random loss")
    found = read_capture(path)
    assert [p.time for p in found[:3]] == [5_000, 5_001, 5_002]
    assert {p.interface.link_type for p in found} == {LINKTYPE_RAW}
    assert [p.interface.name for p in found][-2:] == ["a > b", "b > c"]
    assert found[-1].comments == ["dropped: random loss"]
    assert rebuild(found, interface="a > b").tcp[0].is_complete()


def test_ethernet_frames_keep_their_headers() -> None:
    out = io.BytesIO()
    writer = CaptureWriter(out)
    tapped = CaptureLink(Recorder(ethernet=True), writer)
    for data in conversation(CLIENT4, SERVER4, b"q", b"a"):
        tapped.send(Packet(frame(data)))
    found = read_capture(io.BytesIO(out.getvalue()))
    assert found[0].interface.link_type == LINKTYPE_ETHERNET
    assert rebuild(found).tcp[0].is_complete()
