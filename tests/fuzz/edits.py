"""What a network, or somebody in it, makes of a packet: edits that know what the fields mean.

`edit` takes a whole IP packet and a `Feed` and gives the packets that arrive in its place, with a few words on what was
done. Checksums are made right again, unless breaking them is the point, so that an edit reaches the code behind them.
"""

from __future__ import annotations

from typing import Final

from tests.fuzz.feed import Feed

from plankroad.wire.checksum import checksum, pseudo_sum
from plankroad.wire.constants import PROTO_FRAGMENT, PROTO_ICMP, PROTO_ICMPV6, PROTO_TCP
from plankroad.wire.errors import BadPacket
from plankroad.wire.icmp import build_icmp
from plankroad.wire.icmpv6 import build_icmpv6
from plankroad.wire.ipv4 import build_ipv4, parse_ipv4
from plankroad.wire.ipv6 import build_fragment, build_ipv6, parse_ipv6
from plankroad.wire.segment import ACK, FIN, PSH, RST, SYN, URG, Segment
from plankroad.wire.tcp import build_tcp, parse_tcp

MASK32: Final = 0xFFFFFFFF

#: How far sequence numbers are moved: a little, a segment, a window, half the space.
STEPS: Final = (1, -1, 2, 100, -100, 1460, -1460, 65535, -65535, 65536, 1 << 20, -(1 << 20), 1 << 30, (1 << 31) - 1)
STEPS_AND_HALF: Final = (*STEPS, 1 << 31, -(1 << 30))

FLAG_SETS: Final = (
    RST,
    RST | ACK,
    SYN,
    SYN | ACK,
    FIN | ACK,
    FIN,
    0,
    ACK,
    SYN | FIN,
    SYN | RST,
    URG | ACK,
    PSH | ACK,
    SYN | FIN | RST | PSH | ACK | URG,
    0x1FF,
)

#: Options with lengths that are none of theirs, and bytes that are no options.
RAW_OPTIONS: Final = (
    b"\x02\x04\x00\x00",
    b"\x02\x00\x01\x01",
    b"\x02\x01\x01\x01",
    b"\x03\x03\xff\x00",
    b"\x05\x02\x01\x01",
    b"\x05\x09" + bytes(10),
    b"\x05\x22" + b"\xff" * 32 + b"\x01\x01",
    b"\x08\x0a" + bytes(8) + b"\x01\x01",
    b"\x08\x0a" + b"\xff" * 8 + b"\x01\x01",
    b"\x08\x03\x00\x00",
    b"\x13\x12" + bytes(18),
    b"\x1d\x04\x00\x00",
    b"\x1c\x04\xff\xff",
    b"\x22\x02\x01\x01",
    b"\x22\x12" + b"\xaa" * 16 + b"\x01\x01",
    b"\xfe\x04\xf9\x89",
    b"\xac\x0b" + b"\xff" * 9 + b"\x00",
    b"\xae\x02\x01\x01",
    b"\x01" * 40,
    b"\xff" * 40,
)

#: ICMP errors (type, code, what stands in the second word: the MTU where there is one), IPv4 and IPv6.
ICMP4: Final = (
    (3, 0, 0),
    (3, 1, 0),
    (3, 2, 0),
    (3, 3, 0),
    (3, 4, 0),
    (3, 4, 68),
    (3, 4, 552),
    (3, 4, 576),
    (3, 4, 1000),
    (3, 4, 1400),
    (3, 4, 65535),
    (3, 9, 0),
    (3, 13, 0),
    (4, 0, 0),
    (5, 1, 0x0A000003),
    (11, 0, 0),
    (11, 1, 0),
    (12, 0, 0),
    (40, 1, 0),
)
ICMP6: Final = (
    (1, 0, 0),
    (1, 1, 0),
    (1, 3, 0),
    (1, 4, 0),
    (2, 0, 0),
    (2, 0, 1000),
    (2, 0, 1280),
    (2, 0, 1400),
    (2, 0, 1 << 31),
    (3, 0, 0),
    (3, 1, 0),
    (4, 0, 0),
    (4, 1, 40),
    (100, 0, 0),
)


class Parts:
    """A TCP packet taken apart: the IP header's choices and the segment; `options` is set where it shall go raw."""

    __slots__ = ("dst", "ip_options", "options", "seg", "src", "tos", "ttl")

    def __init__(self, src: bytes, dst: bytes, seg: Segment, tos: int, ttl: int) -> None:
        self.src = src
        self.dst = dst
        self.seg = seg
        self.tos = tos
        self.ttl = ttl
        self.options: bytes | None = None
        self.ip_options = b""


def take_apart(packet: bytes) -> Parts | None:
    """The parts of a whole packet; None for what is no unfragmented TCP packet."""
    try:
        if packet and packet[0] >> 4 == 4:
            ip4 = parse_ipv4(packet)
            if ip4.protocol != PROTO_TCP or ip4.more_fragments or ip4.fragment_offset:
                return None
            parts = Parts(ip4.src, ip4.dst, parse_tcp(packet, ip4.payload_start, ip4.payload_end), ip4.tos, ip4.ttl)
            parts.ip_options = ip4.options
            return parts
        ip6 = parse_ipv6(packet)
        if ip6.protocol != PROTO_TCP or ip6.fragmented:
            return None
        seg = parse_tcp(packet, ip6.payload_start, ip6.payload_end)
        return Parts(ip6.src, ip6.dst, seg, ip6.traffic_class, ip6.hop_limit)
    except BadPacket:
        return None


def put_together(parts: Parts) -> bytes:
    """The packet again, with right checksums. Options that do not fit in a header are left out."""
    seg = parts.seg
    if parts.options is None:
        try:
            head = build_tcp(seg, parts.src, parts.dst)
        except ValueError:
            parts.options = b""
    if parts.options is not None:
        options = parts.options[:40]
        options += bytes(-len(options) & 3)
        bare = Segment(seg.src_port, seg.dst_port, seg.seq, seg.ack, seg.flags, seg.wnd, seg.payload)
        bare.urgent = seg.urgent
        head = build_tcp(bare, parts.src, parts.dst)
        head = head[:12] + bytes([(20 + len(options)) << 2 | head[12] & 15]) + head[13:] + options
        head = mend_tcp(head + seg.payload, parts.src, parts.dst)[: len(head)]
    length = len(head) + len(seg.payload)
    if len(parts.src) == 4:
        ip = build_ipv4(
            parts.src, parts.dst, PROTO_TCP, length, parts.ttl, parts.tos, 0, True, options=parts.ip_options
        )
    else:
        ip = build_ipv6(parts.src, parts.dst, PROTO_TCP, length, parts.ttl, parts.tos)
    return ip + head + seg.payload


def mend_tcp(segment: bytes, src: bytes, dst: bytes) -> bytes:
    """A TCP header and payload with the checksum that they should have."""
    segment = segment[:16] + b"\0\0" + segment[18:]
    value = checksum(segment, pseudo_sum(src, dst, PROTO_TCP, len(segment)))
    return segment[:16] + value.to_bytes(2, "big") + segment[18:]


def mend(packet: bytes) -> bytes:
    """A packet whose header and TCP checksums are right, as far as its headers can be made out."""
    if len(packet) >= 20 and packet[0] >> 4 == 4:
        size = min((packet[0] & 15) * 4, len(packet)) & ~3
        packet = packet[:10] + b"\0\0" + packet[12:]
        packet = packet[:10] + checksum(packet[:size]).to_bytes(2, "big") + packet[12:]
    try:
        if packet[0] >> 4 == 4:
            ip4 = parse_ipv4(packet)
            start, end, src, dst, protocol = ip4.payload_start, ip4.payload_end, ip4.src, ip4.dst, ip4.protocol
            if ip4.more_fragments or ip4.fragment_offset:
                return packet
        else:
            ip6 = parse_ipv6(packet)
            start, end, src, dst, protocol = ip6.payload_start, ip6.payload_end, ip6.src, ip6.dst, ip6.protocol
            if ip6.fragmented:
                return packet
    except (BadPacket, IndexError):
        return packet
    if protocol != PROTO_TCP or end - start < 20:
        return packet
    return packet[:start] + mend_tcp(packet[start:end], src, dst) + packet[end:]


def edit(packet: bytes, feed: Feed, ident: int) -> tuple[list[bytes], str]:
    """What arrives in place of `packet`, and what was done to it, in words.

    `ident`: of fragments; one that is never used again keeps parts of different packets from mixing by accident.
    """
    kind = feed.below(24)
    parts = take_apart(packet)
    if kind >= 16 or parts is None:
        return _edit_packet(packet, kind, feed, ident & 0xFFFF)
    words = _edit_segment(parts, kind, feed)
    if feed.byte() & 3 == 3:
        # Two fields at once.
        words += ", " + _edit_segment(parts, feed.below(16), feed)
    return [put_together(parts)], words


def _edit_segment(parts: Parts, kind: int, feed: Feed) -> str:
    seg = parts.seg
    if kind in (0, 1):
        step = feed.pick(STEPS_AND_HALF) if feed.flag() else feed.number(4)
        if kind == 0:
            seg.seq = (seg.seq + step) & MASK32
            return f"seq {step:+d}"
        seg.ack = (seg.ack + step) & MASK32
        seg.flags |= ACK
        return f"ack {step:+d}"
    if kind == 2:
        seg.wnd = feed.pick((0, 1, 10, 1000, 65535, feed.number(2)))
        return f"wnd {seg.wnd}"
    if kind == 3:
        seg.flags ^= 1 << feed.below(9)
        return f"flags {seg.flags:#x}"
    if kind == 4:
        seg.flags = feed.pick(FLAG_SETS)
        return f"flags {seg.flags:#x}"
    if kind == 5:
        seg.sack = []
        for _ in range(1 + feed.below(4)):
            left = (seg.ack + feed.pick((0, 1, *STEPS))) & MASK32
            seg.sack.append((left, (left + feed.pick((1460, 0, 1, 2920, *STEPS))) & MASK32))
        return f"sack {[((left - seg.ack) & MASK32, (right - seg.ack) & MASK32) for left, right in seg.sack]}"
    if kind == 6:
        seg.has_ts = True
        if feed.flag():
            seg.ts_val = (seg.ts_val + feed.pick(STEPS_AND_HALF)) & MASK32
        if feed.flag():
            seg.ts_ecr = (seg.ts_ecr + feed.pick(STEPS_AND_HALF)) & MASK32
        return f"ts {seg.ts_val} {seg.ts_ecr}"
    if kind == 7:
        seg.has_ts = False
        return "no ts"
    if kind == 8:
        seg.mss = feed.pick((0, 1, 48, 88, 536, 1460, 65535))
        seg.wscale = feed.pick((-1, 0, 7, 14, 15, 255))
        seg.sack_permitted = feed.flag()
        return f"mss {seg.mss} wscale {seg.wscale} sack_permitted {seg.sack_permitted}"
    if kind == 9:
        which = feed.below(3)
        if which == 0:
            seg.user_timeout = feed.number(2)
            return f"user timeout {seg.user_timeout}"
        if which == 1:
            seg.fast_open = feed.some(16)
            seg.fast_open_exp = feed.flag()
            return f"fast open {seg.fast_open.hex()}"
        seg.accecn = feed.pick(
            ((-1, -1, -1), (0, 0, 0), (1, 0, 1), (feed.number(3), feed.number(3), feed.number(3)), (5, -1, -1))
        )
        return f"accecn {seg.accecn}"
    if kind == 10:
        how = feed.below(5)
        if how == 4:
            cut = feed.below(len(seg.payload) + 1)
            seg.seq = (seg.seq + cut) & MASK32
            seg.payload = seg.payload[cut:]
            return f"without its first {cut}"
        if how == 0:
            seg.payload = seg.payload[: feed.below(len(seg.payload) + 1)]
        elif how == 1:
            seg.payload = seg.payload + feed.some(40)
        elif how == 2:
            seg.payload = seg.payload[feed.below(len(seg.payload) + 1) :]
        else:
            seg.payload = bytes(feed.pick((1, 1000, 1460)))
        return f"payload of {len(seg.payload)}"
    if kind == 11:
        seg.urgent = feed.pick((0, 1, 2, 1000, 65535, feed.number(2)))
        seg.flags |= URG
        return f"urgent {seg.urgent}"
    if kind == 12:
        parts.tos = feed.byte()
        return f"tos {parts.tos:#x}"
    if kind == 13:
        parts.options = feed.pick(RAW_OPTIONS) if feed.flag() else feed.some(40)
        return f"options {parts.options.hex()}"
    if kind == 14:
        if feed.flag():
            seg.src_port = feed.number(2)
        else:
            seg.dst_port = feed.number(2)
        return f"ports {seg.src_port} {seg.dst_port}"
    parts.ttl = feed.pick((1, 255, 64))
    if len(parts.src) == 4 and feed.flag():
        parts.ip_options = feed.pick(
            (b"\x01\x01\x01\x00", b"\x83\x07\x04\x0a\0\0\x07\0", b"\x07\x07\x04\0\0\0\0\0", b"\x44\x08\x05\0\0\0\0\0")
        )
    return f"ttl {parts.ttl} IP options {parts.ip_options.hex()}"


def _edit_packet(packet: bytes, kind: int, feed: Feed, ident: int) -> tuple[list[bytes], str]:
    if kind <= 18:
        return _icmp_about(packet, feed)
    if kind <= 20:
        return fragments(packet, feed, ident)
    if kind == 21:
        at = feed.below(max(1, len(packet)))
        bit = 1 << feed.below(8)
        damaged = packet[:at] + bytes([packet[at] ^ bit]) + packet[at + 1 :] if packet else packet
        return [damaged], f"bit {bit:#x} of byte {at}"
    if kind == 22:
        changed = bytearray(packet)
        for _ in range(1 + feed.below(4)):
            if changed:
                changed[feed.below(min(80, len(changed)))] = feed.byte()
        return [mend(bytes(changed))], "bytes, checksums right"
    size = feed.below(len(packet) + 1)
    return [packet[:size]], f"cut to {size}"


def _icmp_about(packet: bytes, feed: Feed) -> tuple[list[bytes], str]:
    """An ICMP error to the sender about the packet, which arrives too or does not; its quotation may lie."""
    if len(packet) < 40:
        return [packet], "nothing"
    four = packet[0] >> 4 == 4
    quoted = packet[: feed.pick((28, 1000, 40, 60, 20, 8, 0, 548))]
    if feed.byte() & 7 == 7 and quoted:
        at = feed.below(len(quoted))
        quoted = quoted[:at] + bytes([feed.byte()]) + quoted[at + 1 :]
    type_, code, rest = feed.pick(ICMP4 if four else ICMP6)
    src = packet[16:20] if four else packet[24:40]
    dst = packet[12:16] if four else packet[8:24]
    if four:
        message = build_icmp(type_, code, rest, quoted)
        icmp = build_ipv4(src, dst, PROTO_ICMP, len(message)) + message
    else:
        message = build_icmpv6(src, dst, type_, code, rest, quoted)
        icmp = build_ipv6(src, dst, PROTO_ICMPV6, len(message)) + message
    arrives = [icmp, packet] if feed.flag() else [icmp]
    return arrives, f"ICMP {type_}/{code} {rest} about it, {'' if len(arrives) > 1 else 'not '}delivered"


def fragments(packet: bytes, feed: Feed, ident: int) -> tuple[list[bytes], str]:
    """The packet in pieces, identified by `ident`: in order or not, some twice, missing, or overlapping."""
    if len(packet) < 40:
        return [packet], "nothing"
    four = packet[0] >> 4 == 4
    start = (packet[0] & 15) * 4 if four else 40
    body = packet[start:]
    size = 8 * (1 + feed.below(20))
    pieces = [(at, body[at : at + size], at + size < len(body)) for at in range(0, len(body), size)][:100]
    how = feed.below(6)
    if how == 1:
        pieces.reverse()
    elif how == 2:
        pieces.insert(0, pieces[feed.below(len(pieces))])
    elif how == 3:
        del pieces[feed.below(len(pieces))]
    elif how == 4:
        at, data, more = pieces[feed.below(len(pieces))]
        pieces.insert(feed.below(len(pieces)), (at, data + bytes(8), more))
    elif how == 5:
        at, data, more = pieces[feed.below(len(pieces))]
        pieces.insert(feed.below(len(pieces)), (0xFFF8, data, more))
    out = []
    for at, data, more in pieces:
        if four:
            src, dst = packet[12:16], packet[16:20]
            head = build_ipv4(src, dst, packet[9], len(data), 64, packet[1], ident, False, more, at)
        else:
            head = build_ipv6(packet[8:24], packet[24:40], PROTO_FRAGMENT, 8 + len(data))
            head += build_fragment(packet[6], at, more, ident)
        out.append(head + data)
    return out, f"{len(pieces)} fragments of {size}, kind {how}"
