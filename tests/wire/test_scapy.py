"""scapy as the oracle, round and round: what it builds we read equal, what we build it reads equal.

Each test draws its packets from scapy's own generators (`fuzz`, volatile fields), which draw from `random`; the seed is
the test's parameter, so `pytest -k 'name and seed'` runs it again. Where bytes are compared, checksums are among them.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from typing import Any

import pytest
from scapy.layers.inet import (
    ICMP,
    IP,
    TCP,
    UDP,
    ICMPerror,
    IPerror,
    IPOption,
    IPOption_LSRR,
    IPOption_NOP,
    IPOption_Router_Alert,
    IPOption_RR,
    IPOption_SSRR,
    IPOption_Stream_Id,
    IPOption_Timestamp,
    RandTCPOptions,
    TCPerror,
    UDPerror,
    in4_chksum,
)
from scapy.layers.inet6 import (
    HBHOptUnknown,
    ICMPv6DestUnreach,
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RA,
    ICMPv6ND_Redirect,
    ICMPv6ND_RS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptMTU,
    ICMPv6NDOptPrefixInfo,
    ICMPv6NDOptRedirectedHdr,
    ICMPv6NDOptSrcLLAddr,
    ICMPv6PacketTooBig,
    ICMPv6ParamProblem,
    ICMPv6TimeExceeded,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    RouterAlert,
    in6_chksum,
)
from scapy.layers.l2 import ARP, Dot1AD, Dot1Q, Ether
from scapy.packet import Packet as ScapyPacket
from scapy.packet import Raw, fuzz
from scapy.volatile import RandIP, RandIP6, RandMAC
from tests.volume import volume

from plankroad.wire import ipv4_options, ipv6_options, ndp
from plankroad.wire.address import bytes_to_ip, bytes_to_mac, ip_to_bytes
from plankroad.wire.arp import build_arp, parse_arp
from plankroad.wire.errors import BadPacket
from plankroad.wire.ethernet import build_ethernet, parse_ethernet
from plankroad.wire.icmp import build_icmp, parse_icmp
from plankroad.wire.icmpv6 import build_icmpv6, parse_icmpv6
from plankroad.wire.ipv4 import Ipv4Header, build_ipv4, parse_ipv4
from plankroad.wire.ipv6 import (
    Ipv6Header,
    build_destination,
    build_fragment,
    build_hop_by_hop,
    build_ipv6,
    build_routing,
    parse_ipv6,
    parse_routing,
)
from plankroad.wire.quoted import parse_quoted
from plankroad.wire.segment import SYN, Segment
from plankroad.wire.tcp import build_tcp, parse_tcp, tcp_checksum_ok
from plankroad.wire.udp import build_udp, parse_udp, udp_checksum_ok

logging.getLogger("scapy.runtime").setLevel(logging.CRITICAL)

SCAPY_CHECKSUM6: Any = in6_chksum

SEEDS = pytest.mark.parametrize("seed", range(volume(16, 8)))
ROUNDS = 25


def some_bytes(limit: int = 60) -> bytes:
    return random.randbytes(random.randrange(limit + 1))


def ip4(protocol: int | None = None) -> ScapyPacket:
    """A well-formed IPv4 header, all else by scapy's generator."""
    packet = fuzz(IP(version=4, ihl=None, len=None, chksum=None, src=RandIP(), dst=RandIP(), options=[]))
    packet.flags = random.choice(["", "DF", "MF"])
    if protocol is not None:
        packet.proto = protocol
        packet.frag = 0
        packet.flags = ""
    return packet


def ip6(next_header: int | None = None) -> ScapyPacket:
    packet = fuzz(IPv6(version=6, plen=None, src=RandIP6(), dst=RandIP6()))
    packet.nh = random.choice([1, 41, 47, 59, 132, 255]) if next_header is None else next_header
    return packet


def rebuilt4(h: Ipv4Header) -> bytes:
    return build_ipv4(
        h.src,
        h.dst,
        h.protocol,
        h.payload_end - h.payload_start,
        h.ttl,
        h.tos,
        h.ident,
        h.dont_fragment,
        h.more_fragments,
        h.fragment_offset,
        h.options,
    )


def rebuilt6(h: Ipv6Header) -> bytes:
    return build_ipv6(h.src, h.dst, h.next_header, h.payload_length, h.hop_limit, h.traffic_class, h.flow_label)


# Ethernet, VLAN, ARP


@SEEDS
def test_ethernet(seed: int) -> None:
    tag_kinds = [Dot1Q, Dot1AD]
    random.seed(seed)
    for _ in range(ROUNDS):
        packet: ScapyPacket = Ether(dst=RandMAC(), src=RandMAC())
        for _ in range(random.randrange(4)):
            packet /= random.choice(tag_kinds)(
                vlan=random.randrange(4096), prio=random.randrange(8), dei=random.randrange(2)
            )
        packet.lastlayer().type = random.randrange(0x9000, 0x10000)
        data = bytes(packet / Raw(some_bytes()))
        oracle = Ether(data)
        h = parse_ethernet(data)
        assert (bytes_to_mac(h.dst), bytes_to_mac(h.src)) == (oracle.dst, oracle.src)
        tags: list[tuple[int, int]] = []
        layer: ScapyPacket = oracle
        while isinstance(layer.payload, Dot1Q):
            tag = layer.payload
            tags.append((layer.type, tag.prio << 13 | tag.dei << 12 | tag.vlan))
            layer = tag
        assert (h.vlans, h.ethertype) == (tags, layer.type)
        assert build_ethernet(h.dst, h.src, h.ethertype, h.vlans) + data[h.payload_start :] == data


@SEEDS
def test_arp(seed: int) -> None:
    random.seed(seed)
    for _ in range(ROUNDS):
        packet = fuzz(ARP(hwtype=1, ptype=0x800, hwlen=6, plen=4, psrc=RandIP(), pdst=RandIP()))
        data = bytes(packet)
        oracle = ARP(data)
        p = parse_arp(data)
        assert (p.operation, bytes_to_mac(p.sender_mac), bytes_to_ip(p.sender_ip)) == (
            oracle.op,
            oracle.hwsrc,
            oracle.psrc,
        )
        assert (bytes_to_mac(p.target_mac), bytes_to_ip(p.target_ip)) == (oracle.hwdst, oracle.pdst)
        assert build_arp(p.operation, p.sender_mac, p.sender_ip, p.target_mac, p.target_ip) == data


# IPv4


@SEEDS
def test_ipv4(seed: int) -> None:
    random.seed(seed)
    for _ in range(ROUNDS):
        data = bytes(ip4() / Raw(some_bytes()))
        oracle = IP(data)
        h = parse_ipv4(data)
        assert (bytes_to_ip(h.src), bytes_to_ip(h.dst), h.protocol) == (oracle.src, oracle.dst, oracle.proto)
        assert (h.tos, h.ttl, h.ident, h.total_length) == (oracle.tos, oracle.ttl, oracle.id, oracle.len)
        assert h.fragment_offset == oracle.frag * 8
        assert (h.dont_fragment, h.more_fragments) == (oracle.flags == "DF", oracle.flags == "MF")
        assert rebuilt4(h) + data[h.payload_start :] == data


def ip4_option() -> IPOption:
    route = [bytes_to_ip(random.randbytes(4)) for _ in range(random.randrange(1, 4))]
    pointer = random.choice([4, 8])
    return random.choice(
        [
            IPOption_NOP(),
            IPOption_RR(routers=route, pointer=pointer),
            IPOption_LSRR(routers=route, pointer=pointer),
            IPOption_SSRR(routers=route, pointer=pointer),
            IPOption_Timestamp(flg=0, pointer=random.choice([5, 9]), length=8, timestamp=random.getrandbits(32)),
            IPOption_Timestamp(
                flg=random.choice([1, 3]),
                length=12,
                pointer=random.choice([5, 13]),
                internet_address=route[0],
                timestamp=random.getrandbits(32),
            ),
            IPOption_Router_Alert(alert=random.getrandbits(16)),
            IPOption_Stream_Id(security=random.getrandbits(16)),
        ]
    )


@SEEDS
def test_ipv4_options(seed: int) -> None:
    random.seed(seed)
    for _ in range(ROUNDS * 2):
        packet = ip4(253)
        packet.options = [ip4_option() for _ in range(random.randrange(1, 4))]
        if sum(len(bytes(option)) for option in packet.options) > 40:
            continue
        data = bytes(packet)
        oracle = IP(data)
        h = parse_ipv4(data)
        assert rebuilt4(h) == data
        wanted = [o for o in oracle.options if o.option > 1]
        try:
            found = ipv4_options.parse_options(h.options)
        except BadPacket:
            # The one thing wrong that the generator above makes.
            assert len([o for o in wanted if isinstance(o, IPOption_LSRR | IPOption_SSRR)]) > 1
            continue
        assert len(found) == len(wanted)
        for mine, other in zip(found, wanted, strict=True):
            assert mine.kind == other.copy_flag << 7 | other.optclass << 5 | other.option
            raw = bytes([mine.kind, len(mine.data) + 2]) + mine.data
            assert raw == bytes(other)[: len(raw)]
            if isinstance(other, IPOption_RR):
                route = ipv4_options.parse_route(mine)
                assert (route.pointer, [bytes_to_ip(a) for a in route.route]) == (other.pointer, other.routers)
                assert ipv4_options.build_route(route) == raw
            elif isinstance(other, IPOption_Timestamp):
                stamp = ipv4_options.parse_timestamp(mine)
                address = b"" if other.flg == 0 else ip_to_bytes(other.internet_address)
                assert (stamp.pointer, stamp.flag, stamp.overflow) == (other.pointer, other.flg, other.oflw)
                assert stamp.entries == [(address, other.timestamp)]
                assert ipv4_options.build_timestamp(stamp) == raw
            elif isinstance(other, IPOption_Router_Alert):
                assert ipv4_options.parse_router_alert(mine) == other.alert
                assert ipv4_options.build_router_alert(other.alert) == raw


# IPv6


@SEEDS
def test_ipv6(seed: int) -> None:
    random.seed(seed)
    for _ in range(ROUNDS):
        data = bytes(ip6() / Raw(some_bytes()))
        oracle = IPv6(data)
        h = parse_ipv6(data)
        assert (bytes_to_ip(h.src), bytes_to_ip(h.dst), h.next_header) == (oracle.src, oracle.dst, oracle.nh)
        assert (h.traffic_class, h.flow_label, h.hop_limit) == (oracle.tc, oracle.fl, oracle.hlim)
        assert h.payload_length == oracle.plen
        assert rebuilt6(h) + data[40:] == data


def options6() -> list[ScapyPacket]:
    options: list[ScapyPacket] = []
    for _ in range(random.randrange(4)):
        if random.random() < 0.3:
            options.append(RouterAlert(value=random.getrandbits(16)))
        else:
            data = some_bytes(20)
            kind = random.choice([0x1E, 0x3E, 0x5E, 0x9E, 0xDE])
            options.append(HBHOptUnknown(otype=kind, optlen=len(data), optdata=data))
    return options


EXTENSIONS: list[tuple[int, Callable[[], ScapyPacket]]] = [
    (60, lambda: IPv6ExtHdrDestOpt(options=options6())),
    (
        43,
        lambda: IPv6ExtHdrRouting(
            segleft=0, addresses=[bytes_to_ip(random.randbytes(16)) for _ in range(random.randrange(3))]
        ),
    ),
    (44, lambda: IPv6ExtHdrFragment(id=random.getrandbits(32))),
]


@SEEDS
def test_ipv6_extension_headers(seed: int) -> None:
    random.seed(seed)
    for _ in range(ROUNDS):
        chain = random.sample(EXTENSIONS, random.randrange(1, 4))
        if random.random() < 0.5:
            chain.insert(0, (0, lambda: IPv6ExtHdrHopByHop(options=options6())))
        packet = ip6(chain[0][0])
        for _, make in chain:
            packet /= make()
        data = bytes(packet / UDP(sport=1, dport=2) / Raw(some_bytes()))
        h = parse_ipv6(data)
        assert [kind for kind, _, _ in h.extensions] == [kind for kind, _ in chain]
        assert (h.protocol, h.fragmented) == (17, False)
        assert udp_checksum_ok(data, h.payload_start, h.payload_end, h.src, h.dst)
        rebuilt = rebuilt6(h)
        layer = IPv6(data).payload
        for kind, start, end in h.extensions:
            following = data[start]
            if kind in (0, 60):
                mine = ipv6_options.parse_ipv6_options(data, start, end)
                theirs = [o for o in layer.options if o.otype > 1]
                assert [bytes([o.kind, len(o.data)]) + o.data for o in mine] == [bytes(o) for o in theirs]
                # Every byte of scapy's own padding, which aligns options, as options of ours.
                padded = [
                    ipv6_options.Ipv6Option(o.otype, b"" if o.otype == 0 else bytes(o)[2:]) for o in layer.options
                ]
                build = build_hop_by_hop if kind == 0 else build_destination
                built = build(following, padded)
            elif kind == 43:
                r = parse_routing(data, start, end)
                assert (r.routing_type, r.segments_left) == (layer.type, layer.segleft)
                built = build_routing(following, r.routing_type, r.segments_left, r.data)
            else:
                assert h.fragment_ident == layer.id
                built = build_fragment(following, h.fragment_offset, h.more_fragments, h.fragment_ident)
            assert built == data[start:end]
            rebuilt += built
            layer = layer.payload
        assert rebuilt == data[: h.payload_start]


@SEEDS
def test_ipv6_fragments(seed: int) -> None:
    random.seed(seed)
    for _ in range(ROUNDS):
        data = bytes(ip6(44) / fuzz(IPv6ExtHdrFragment(nh=17, res1=0, res2=0)) / Raw(bytes(16)))
        oracle = IPv6(data)[IPv6ExtHdrFragment]
        h = parse_ipv6(data)
        assert (h.fragment_offset, h.more_fragments, h.fragment_ident) == (
            oracle.offset * 8,
            oracle.m == 1,
            oracle.id,
        )
        assert h.fragmented == (oracle.offset != 0 or oracle.m == 1)
        assert build_fragment(17, h.fragment_offset, h.more_fragments, h.fragment_ident) == data[40:48]


# TCP

OPTION_FIELDS = ["mss", "wscale", "sack_permitted", "sack", "has_ts", "ts_val", "ts_ecr"]
OPTION_FIELDS += ["user_timeout", "fast_open", "md5", "ao", "bad_options"]


def expected_options(tcp: TCP) -> dict[str, object]:
    """What scapy read of a TCP header's options, in the words of `Segment`."""
    out: dict[str, object] = {}
    for name, value in tcp.options:
        if name == "MSS":
            out["mss"] = value
        elif name == "WScale":
            out["wscale"] = value
        elif name == "SAckOK":
            out["sack_permitted"] = True
        elif name == "SAck" and value:
            out["sack"] = list(zip(value[::2], value[1::2], strict=True))
        elif name == "Timestamp":
            out["has_ts"], (out["ts_val"], out["ts_ecr"]) = True, value
        elif name == "UTO":
            out["user_timeout"] = value
        elif name == "MD5":
            out["md5"] = True
        elif name == "AO":
            out["ao"] = True
        elif name == "TFO" and int(tcp.flags) & SYN:
            out["fast_open"] = b"".join(v.to_bytes(4, "big") for v in value)
        elif name == "EOL":
            break
    return out


def option_fields(seg: Segment) -> dict[str, object]:
    plain = Segment(0, 0, 0, 0, 0, 0)
    return {name: getattr(seg, name) for name in OPTION_FIELDS if getattr(seg, name) != getattr(plain, name)}


def tcp_options() -> list[tuple[str, object]]:
    """Options from scapy's generator, without those that it makes with a length no RFC gives."""
    keep = {"MSS", "WScale", "SAckOK", "Timestamp", "UTO", "MD5", "NOP", "TFO", "AltChkSum", "Mood"}
    generator: Any = RandTCPOptions
    return [option for option in generator()._fix() if option[0] in keep]


@SEEDS
@pytest.mark.parametrize("family", [4, 6])
def test_tcp(seed: int, family: int) -> None:
    random.seed(seed)
    read: set[str] = set()
    for _ in range(ROUNDS * 3):
        lower = ip4(6) if family == 4 else ip6(6)
        tcp = fuzz(TCP(dataofs=None, reserved=0, chksum=None))
        tcp.options = tcp_options()
        if random.random() < 0.4:
            tcp.options.append(("SAck", tuple(random.getrandbits(32) for _ in range(2 * random.randrange(1, 4)))))
        tcp.flags = random.getrandbits(8)
        data = bytes(lower / tcp / Raw(some_bytes()))
        if len(bytes(tcp)) > 60:
            continue
        oracle = (IP if family == 4 else IPv6)(data)[TCP]
        ip: Ipv4Header | Ipv6Header = parse_ipv4(data) if family == 4 else parse_ipv6(data)
        start, end = ip.payload_start, ip.payload_end
        assert tcp_checksum_ok(data, start, end, ip.src, ip.dst)
        seg = parse_tcp(data, start, end)
        assert (seg.src_port, seg.dst_port, seg.seq, seg.ack) == (oracle.sport, oracle.dport, oracle.seq, oracle.ack)
        assert (seg.flags, seg.wnd, seg.urgent) == (int(oracle.flags), oracle.window, oracle.urgptr)
        assert seg.payload == bytes(oracle.payload)
        expected = expected_options(oracle)
        assert option_fields(seg) == expected
        read |= set(expected)
        # Back to scapy. MD5 and AO are recognized only; a cookie of more than there is room for cannot come in.
        try:
            head = build_tcp(seg, ip.src, ip.dst)
        except ValueError:
            assert seg.fast_open is not None
            continue
        again = TCP(head + seg.payload)
        assert (again.sport, again.dport, again.seq, again.ack) == (seg.src_port, seg.dst_port, seg.seq, seg.ack)
        assert (int(again.flags), again.window, again.urgptr) == (seg.flags, seg.wnd, seg.urgent)
        assert bytes(again.payload) == seg.payload
        back = expected_options(again)
        room = 40 - (len(head) - 20)
        for name, value in expected.items():
            if name in {"md5", "ao"}:
                continue
            if name == "sack" and room < 8:
                got = back.get("sack", [])
                assert isinstance(got, list)
                assert isinstance(value, list)
                assert value[: len(got)] == got
            else:
                assert back[name] == value
        # scapy's own checksum over what we built, its addresses read from our header.
        blank = head[:16] + b"\0\0" + head[18:] + seg.payload
        if isinstance(ip, Ipv4Header):
            value = in4_chksum(6, IP(build_ipv4(ip.src, ip.dst, 6, len(blank)) + blank), blank)
        else:
            value = SCAPY_CHECKSUM6(6, IPv6(build_ipv6(ip.src, ip.dst, 6, len(blank)) + blank), blank)
        assert value == int.from_bytes(head[16:18], "big")
    assert len(read) > 5


def test_tcp_layouts_are_those_of_scapy_byte_for_byte() -> None:
    """The layouts that we make, made by scapy."""
    layouts: list[list[tuple[str, object]]] = [
        [],
        [("MSS", 1460)],
        [("NOP", None), ("NOP", None), ("Timestamp", (7, 8))],
        [("MSS", 1460), ("SAckOK", b""), ("Timestamp", (7, 0)), ("NOP", None), ("WScale", 7)],
        [("MSS", 1460), ("NOP", None), ("NOP", None), ("SAckOK", b""), ("NOP", None), ("WScale", 14)],
        [("NOP", None), ("NOP", None), ("SAck", (1, 2, 3, 4))],
        [
            ("NOP", None),
            ("NOP", None),
            ("Timestamp", (7, 8)),
            ("NOP", None),
            ("NOP", None),
            ("SAck", (1, 2, 3, 4, 5, 6)),
        ],
        [("UTO", 0x8005)],
        [("MSS", 9000), ("TFO", (0x61626364, 0x65666768)), ("NOP", None), ("NOP", None)],
    ]
    for options in layouts:
        for payload in (b"", b"odd", b"even"):
            data = bytes(IP(src="10.0.0.1", dst="10.0.0.2") / TCP(options=options, flags="S", seq=9) / Raw(payload))
            h = parse_ipv4(data)
            seg = parse_tcp(data, h.payload_start, h.payload_end)
            assert rebuilt4(h) + build_tcp(seg, h.src, h.dst) + seg.payload == data


# UDP


@SEEDS
@pytest.mark.parametrize("family", [4, 6])
def test_udp(seed: int, family: int) -> None:
    random.seed(seed)
    for _ in range(ROUNDS):
        payload = some_bytes(200)
        lower = ip4(17) if family == 4 else ip6(17)
        data = bytes(lower / fuzz(UDP(len=None, chksum=None)) / Raw(payload))
        ip: Ipv4Header | Ipv6Header = parse_ipv4(data) if family == 4 else parse_ipv6(data)
        start, end = ip.payload_start, ip.payload_end
        oracle = UDP(data[start:])
        udp = parse_udp(data, start, end)
        assert udp_checksum_ok(data, start, end, ip.src, ip.dst)
        assert (udp.src_port, udp.dst_port, udp.payload) == (oracle.sport, oracle.dport, payload)
        lower_bytes = rebuilt4(ip) if isinstance(ip, Ipv4Header) else rebuilt6(ip)
        head = build_udp(ip.src, ip.dst, udp.src_port, udp.dst_port, udp.payload)
        assert lower_bytes + head + payload == data


# ICMP, ICMPv6, neighbour discovery, quotes


@SEEDS
def test_icmp(seed: int) -> None:
    random.seed(seed)
    for _ in range(ROUNDS):
        data = bytes(ip4(1) / fuzz(ICMP(type=random.choice([0, 3, 5, 8, 11, 12]), chksum=None)) / Raw(some_bytes()))
        h = parse_ipv4(data)
        oracle = ICMP(data[20:])
        m = parse_icmp(data, h.payload_start, h.payload_end)
        assert (m.type, m.code) == (oracle.type, oracle.code)
        if m.type in (0, 8):
            assert m.rest == oracle.id << 16 | oracle.seq
        elif m.type == 5:
            assert m.rest.to_bytes(4, "big") == ip_to_bytes(oracle.gw)
        elif m.type == 12:
            assert m.rest >> 24 == oracle.ptr
        elif m.type == 3 and m.code == 4:
            assert m.rest & 0xFFFF == oracle.nexthopmtu
        assert rebuilt4(h) + build_icmp(m.type, m.code, m.rest, m.body) == data


@SEEDS
def test_icmpv6(seed: int) -> None:
    random.seed(seed)
    kinds = [ICMPv6EchoRequest, ICMPv6EchoReply, ICMPv6DestUnreach, ICMPv6PacketTooBig]
    kinds += [ICMPv6TimeExceeded, ICMPv6ParamProblem]
    for _ in range(ROUNDS):
        kind = random.choice(kinds)
        layer = fuzz(kind(type=kind().type, cksum=None))
        data = bytes(ip6(58) / layer / Raw(some_bytes()))
        h = parse_ipv6(data)
        oracle = kind(data[40:])
        m = parse_icmpv6(data, h.payload_start, h.payload_end, h.src, h.dst)
        assert (m.type, m.code) == (oracle.type, oracle.code)
        if kind is ICMPv6PacketTooBig:
            assert m.rest == oracle.mtu
        elif kind is ICMPv6ParamProblem:
            assert m.rest == oracle.ptr
        elif kind in (ICMPv6EchoRequest, ICMPv6EchoReply):
            assert m.rest == oracle.id << 16 | oracle.seq
        assert rebuilt6(h) + build_icmpv6(h.src, h.dst, m.type, m.code, m.rest, m.body) == data


def nd_options() -> list[ScapyPacket]:
    made: list[ScapyPacket] = [
        ICMPv6NDOptSrcLLAddr(lladdr=RandMAC()),
        ICMPv6NDOptDstLLAddr(lladdr=RandMAC()),
        fuzz(ICMPv6NDOptPrefixInfo(type=3, len=4, R=0, res1=0, res2=0, prefix=RandIP6())),
        ICMPv6NDOptRedirectedHdr(pkt=Raw(random.randbytes(8 * random.randrange(1, 5)))),
        ICMPv6NDOptMTU(mtu=random.randrange(1, 1 << 32)),
    ]
    made[2].prefixlen = random.randrange(129)
    # In the order of their types, as ours are built.
    return [option for option in made if random.random() < 0.6]


@SEEDS
def test_neighbour_discovery(seed: int) -> None:
    random.seed(seed)
    for _ in range(ROUNDS):
        kind = random.choice([ICMPv6ND_RS, ICMPv6ND_RA, ICMPv6ND_NS, ICMPv6ND_NA, ICMPv6ND_Redirect])
        layer = fuzz(kind(type=kind().type, code=0, cksum=None, res=0))
        if kind is ICMPv6ND_RA:
            layer.H = layer.P = 0
            layer.chlim = random.randrange(256)
        else:
            if kind is ICMPv6ND_Redirect:
                layer.dst = bytes_to_ip(b"\x20" + random.randbytes(15))
            if kind is not ICMPv6ND_RS:
                layer.tgt = bytes_to_ip(b"\xfe\x80" + random.randbytes(14))
        packet = IPv6(src="fe80::1", dst="fe80::2", hlim=255) / layer
        wanted = nd_options()
        for option in wanted:
            packet /= option
        data = bytes(packet)
        h = parse_ipv6(data)
        m = parse_icmpv6(data, h.payload_start, h.payload_end, h.src, h.dst)
        message = ndp.parse_ndp(m, h.src, h.dst, h.hop_limit)
        oracle = IPv6(data)[kind]
        opts = message.options
        for layer_class, mac in ((ICMPv6NDOptSrcLLAddr, opts.source_mac), (ICMPv6NDOptDstLLAddr, opts.target_mac)):
            theirs = oracle[layer_class].lladdr if layer_class in oracle else ""
            assert (bytes_to_mac(mac) if mac else "") == theirs
        assert opts.mtu == (oracle[ICMPv6NDOptMTU].mtu if ICMPv6NDOptMTU in oracle else 0)
        if ICMPv6NDOptPrefixInfo in oracle:
            info, option = opts.prefixes[0], oracle[ICMPv6NDOptPrefixInfo]
            assert (bytes_to_ip(info.prefix), info.prefix_len) == (option.prefix, option.prefixlen)
            assert (info.on_link, info.autonomous) == (option.L == 1, option.A == 1)
            assert (info.valid_lifetime, info.preferred_lifetime) == (option.validlifetime, option.preferredlifetime)
        assert bool(opts.redirected) == (ICMPv6NDOptRedirectedHdr in oracle)
        if isinstance(message, ndp.RouterSolicitation):
            built = ndp.build_router_solicitation(h.src, h.dst, message)
        elif isinstance(message, ndp.RouterAdvertisement):
            assert (message.hop_limit, message.managed, message.other_config, message.preference) == (
                oracle.chlim,
                oracle.M == 1,
                oracle.O == 1,
                oracle.prf,
            )
            assert (message.lifetime, message.reachable_time, message.retrans_timer) == (
                oracle.routerlifetime,
                oracle.reachabletime,
                oracle.retranstimer,
            )
            built = ndp.build_router_advertisement(h.src, h.dst, message)
        elif isinstance(message, ndp.Redirect):
            assert (bytes_to_ip(message.target), bytes_to_ip(message.destination)) == (oracle.tgt, oracle.dst)
            built = ndp.build_redirect(h.src, h.dst, message)
        elif isinstance(message, ndp.NeighborSolicitation):
            assert bytes_to_ip(message.target) == oracle.tgt
            body = message.target + ndp.build_options(opts)
            built = build_icmpv6(h.src, h.dst, m.type, 0, 0, body)
            if not wanted:
                assert ndp.build_neighbor_solicitation(h.src, h.dst, message.target) == built
        else:
            assert isinstance(message, ndp.NeighborAdvertisement)
            assert (message.router, message.solicited, message.override) == (
                oracle.R == 1,
                oracle.S == 1,
                oracle.O == 1,
            )
            body = message.target + ndp.build_options(opts)
            built = build_icmpv6(h.src, h.dst, m.type, 0, m.rest, body)
            if len(wanted) == 1 and opts.target_mac:
                flags = (message.router, message.solicited, message.override)
                mine = ndp.build_neighbor_advertisement(h.src, h.dst, message.target, opts.target_mac, *flags)
                assert mine == built
        assert built == data[40:]


@SEEDS
def test_quotes(seed: int) -> None:
    random.seed(seed)
    for _ in range(ROUNDS):
        inner = IP(src=RandIP(), dst=RandIP(), id=random.getrandbits(16)) / random.choice(
            [TCP(sport=5, dport=6, seq=random.getrandbits(32)), UDP(sport=7, dport=8), ICMP(type=8, id=9, seq=10)]
        )
        data = bytes(IP(dst="10.0.0.1", src="10.0.0.2") / ICMP(type=3, code=1) / inner)[:56]
        oracle = ICMP(data[20:])[IPerror]
        q = parse_quoted(data, 28)
        assert (bytes_to_ip(q.src), bytes_to_ip(q.dst), q.protocol, q.ident) == (
            oracle.src,
            oracle.dst,
            oracle.proto,
            oracle.id,
        )
        if TCPerror in oracle:
            assert (q.src_port, q.dst_port, q.seq) == (5, 6, oracle[TCPerror].seq)
        elif UDPerror in oracle:
            assert (q.src_port, q.dst_port, q.seq) == (oracle[UDPerror].sport, oracle[UDPerror].dport, -1)
        else:
            assert (q.icmp_type, q.icmp_ident, q.icmp_seq) == (8, oracle[ICMPerror].id, oracle[ICMPerror].seq)


# Everything fuzzed


@SEEDS
def test_packets_with_every_field_fuzzed_parse_or_are_refused(seed: int) -> None:
    """Wrong lengths, versions, checksums and options among them; scapy's reading is compared where there is one."""
    random.seed(seed)
    parsed = refused = 0
    for _ in range(ROUNDS * 6):
        network = random.choice([IP, IPv6])
        transport = random.choice([TCP, UDP, ICMP, ICMPv6ND_NS, ICMPv6ND_RA])
        data = bytes(fuzz(network(src="10.0.0.1" if network is IP else "fd00::1") / transport()) / Raw(some_bytes()))
        tests: list[Callable[[bytes], object]] = [
            parse_ethernet,
            parse_ipv4,
            parse_ipv6,
            parse_quoted,
            lambda b: parse_tcp(b, 0, len(b)),
            lambda b: parse_udp(b, 0, len(b)),
            lambda b: parse_icmp(b, 0, len(b)),
        ]
        for buf in (data, data[20:], data[40:]):
            for parse in tests:
                try:
                    parse(buf)
                except BadPacket:
                    refused += 1
                else:
                    parsed += 1
        if transport is TCP and network is IPv6:
            segment = data[40:]
            oracle = TCP(segment)
            try:
                seg = parse_tcp(segment, 0, len(segment))
            except BadPacket:
                assert oracle.dataofs < 5 or oracle.dataofs * 4 > len(segment)
            else:
                assert (seg.src_port, seg.seq, seg.wnd) == (oracle.sport, oracle.seq, oracle.window)
                assert int(oracle.flags) & 0x1FF == seg.flags
    assert parsed > 100
    assert refused > 100
