"""Connections and conversations in a capture: who spoke with whom, and what each said."""

from __future__ import annotations

from collections.abc import Iterable

from plankroad.pcap.decode import Decoder, Transport
from plankroad.pcap.records import CapturedPacket
from plankroad.pcap.streams import Stream
from plankroad.trace.ladder import LEFT, RIGHT, Ladder
from plankroad.wire.address import bytes_to_ip
from plankroad.wire.constants import PROTO_TCP, PROTO_UDP
from plankroad.wire.errors import BadPacket
from plankroad.wire.segment import ACK, FIN, RST, SYN, Segment
from plankroad.wire.tcp import parse_tcp, tcp_checksum_ok
from plankroad.wire.udp import parse_udp, udp_checksum_ok

#: An address (4 or 16 bytes) and a port.
End = tuple[bytes, int]

#: Directions, and indices of `TcpFlow.streams`: from the client, from the server.
TO_SERVER = 0
TO_CLIENT = 1

#: How a comment begins that says that the network did not deliver a packet.
DROPPED = "dropped"


def end_name(end: End) -> str:
    """`10.0.0.1:80` or `[fd00::1]:80`."""
    ip = bytes_to_ip(end[0])
    return f"[{ip}]:{end[1]}" if ":" in ip else f"{ip}:{end[1]}"


class FlowSegment:
    """A TCP segment in a flow, and the packet it came in."""

    __slots__ = ("direction", "packet", "segment")

    def __init__(self, packet: CapturedPacket, direction: int, segment: Segment) -> None:
        self.packet = packet
        self.direction = direction
        self.segment = segment


class TcpFlow:
    """One TCP connection. `client` sent the SYN, or the first packet seen where there is none."""

    def __init__(self, client: End, server: End) -> None:
        self.client = client
        self.server = server
        self.segments: list[FlowSegment] = []
        self.streams = (Stream(), Stream())

    def is_complete(self) -> bool:
        """Both streams from SYN to FIN with nothing missing."""
        return self.streams[0].is_complete() and self.streams[1].is_complete()

    def ladder(self, interface: str = "") -> Ladder:
        """The connection as a sequence ladder: client left, server right; of one interface where it is named.

        A comment on a packet that begins with "dropped" tells why it did not arrive; others stand beside it.
        """
        ladder = Ladder(end_name(self.client), end_name(self.server))
        for item in self.segments:
            if interface and item.packet.interface.name != interface:
                continue
            dropped: list[str] = []
            notes: list[str] = []
            for comment in item.packet.comments:
                if comment.startswith(DROPPED):
                    dropped.append(comment[len(DROPPED) :].lstrip(" :") or DROPPED)
                else:
                    notes.append(comment)
            direction = RIGHT if item.direction == TO_SERVER else LEFT
            ladder.add(item.packet.time, direction, item.segment, "; ".join(dropped), "; ".join(notes))
        return ladder

    def __repr__(self) -> str:
        return f"<TcpFlow {end_name(self.client)} > {end_name(self.server)}, {len(self.segments)} segments>"


class UdpFlow:
    """The datagrams between two ends; `client` sent the first. `datagrams`: (packet, direction, payload)."""

    def __init__(self, client: End, server: End) -> None:
        self.client = client
        self.server = server
        self.datagrams: list[tuple[CapturedPacket, int, bytes]] = []


class Flows:
    """What `rebuild` found. `damaged`: packets that a receiver discards, and why; `others`: neither TCP nor UDP."""

    def __init__(self) -> None:
        self.tcp: list[TcpFlow] = []
        self.udp: list[UdpFlow] = []
        self.damaged: list[tuple[CapturedPacket, str]] = []
        self.others = 0


def rebuild(packets: Iterable[CapturedPacket], *, interface: str = "", verify_checksums: bool = True) -> Flows:
    """Group `packets` by connection and put the streams together.

    `interface`: look at the packets of that one only; a capture of a whole network has each packet at every hop.
    `verify_checksums`: leave out segments with a wrong checksum, as a receiver would. Turn it off for captures taken
    before a network card filled the checksums in.
    """
    flows = Flows()
    decoder = Decoder()
    tcp: dict[tuple[End, End], TcpFlow] = {}
    udp: dict[tuple[End, End], UdpFlow] = {}
    for packet in packets:
        if interface and packet.interface.name != interface:
            continue
        try:
            transport = decoder.decode(packet)
            if transport is None:
                flows.others += 1
            elif transport.protocol == PROTO_TCP:
                _add_tcp(flows, tcp, packet, transport, verify_checksums)
            elif transport.protocol == PROTO_UDP:
                _add_udp(flows, udp, packet, transport, verify_checksums)
            else:
                flows.others += 1
        except BadPacket as error:
            flows.damaged.append((packet, str(error)))
    return flows


def _add_tcp(
    flows: Flows,
    table: dict[tuple[End, End], TcpFlow],
    packet: CapturedPacket,
    transport: Transport,
    verify: bool,
) -> None:
    buf, start, end = transport.buf, transport.start, transport.end
    src, dst = transport.src, transport.dst
    if verify and not transport.missing and not tcp_checksum_ok(buf, start, end, src, dst):
        raise BadPacket("TCP checksum is wrong")
    seg = parse_tcp(buf, start, end)
    sender: End = (src, seg.src_port)
    receiver: End = (dst, seg.dst_port)
    flow = table.get((sender, receiver))
    if flow is None or _is_new_incarnation(flow, sender, seg):
        # An answer seen first: the SYN went before the capture began, or another way.
        answer = seg.flags & (SYN | ACK) == SYN | ACK
        flow = TcpFlow(receiver, sender) if answer else TcpFlow(sender, receiver)
        table[sender, receiver] = table[receiver, sender] = flow
        flows.tcp.append(flow)
    direction = TO_SERVER if sender == flow.client else TO_CLIENT
    flow.segments.append(FlowSegment(packet, direction, seg))
    stream = flow.streams[direction]
    if seg.flags & RST:
        # What a reset carries is no data (RFC 9293 section 3.5.2).
        stream.reset = True
        return
    seq = seg.seq
    if seg.flags & SYN:
        if stream.isn != seq and stream.segments == 0:
            stream.synchronize(seq)
        seq = (seq + 1) & 0xFFFFFFFF
    data = seg.payload
    if transport.missing:
        data = data[: max(len(data) - transport.missing, 0)]
    if data:
        stream.add(seq, data)
    if seg.flags & FIN:
        stream.end((seq + len(seg.payload)) & 0xFFFFFFFF)


def _is_new_incarnation(flow: TcpFlow, sender: End, seg: Segment) -> bool:
    """A SYN that is not the one the flow began with, nor the other half of a simultaneous open."""
    if seg.flags & (SYN | ACK | RST) != SYN:
        return False
    direction = TO_SERVER if sender == flow.client else TO_CLIENT
    stream = flow.streams[direction]
    if stream.isn >= 0:
        return stream.isn != seg.seq
    # No SYN of this end was seen: it is the first one only if nothing else was seen of it either.
    return any(item.direction == direction for item in flow.segments)


def _add_udp(
    flows: Flows,
    table: dict[tuple[End, End], UdpFlow],
    packet: CapturedPacket,
    transport: Transport,
    verify: bool,
) -> None:
    buf, start, end = transport.buf, transport.start, transport.end
    if verify and not transport.missing and not udp_checksum_ok(buf, start, end, transport.src, transport.dst):
        raise BadPacket("UDP checksum or length is wrong")
    datagram = parse_udp(buf, start, end)
    sender: End = (transport.src, datagram.src_port)
    receiver: End = (transport.dst, datagram.dst_port)
    flow = table.get((sender, receiver))
    if flow is None:
        flow = UdpFlow(sender, receiver)
        table[sender, receiver] = table[receiver, sender] = flow
        flows.udp.append(flow)
    payload = datagram.payload
    if transport.missing:
        payload = payload[: max(len(payload) - transport.missing, 0)]
    flow.datagrams.append((packet, TO_SERVER if sender == flow.client else TO_CLIENT, payload))
