"""Good packets of most kinds, and a host with something of everything to receive them."""

from __future__ import annotations

from tests.stack.net import A4, A6, B4, B6, Lone, tcp

from plankroad.stack.config import StackConfig
from plankroad.wire.icmp import build_icmp
from plankroad.wire.icmpv6 import build_icmpv6
from plankroad.wire.ipv4 import build_ipv4
from plankroad.wire.ipv6 import build_ipv6
from plankroad.wire.segment import SYN, Segment
from plankroad.wire.udp import build_udp


def samples() -> list[bytes]:
    """One good packet of most kinds."""
    syn = tcp(Segment(9, 80, 1, 0, SYN, 999, b"data"), A4, B4)
    syn6 = tcp(Segment(9, 80, 1, 0, SYN, 999), A6, B6)
    udp = build_udp(A4, B4, 7, 53, b"data")
    found = [syn, syn6, build_ipv4(A4, B4, 17, 12) + udp + b"data"]
    found.append(build_ipv4(A4, B4, 17, 12, options=b"\x83\x07\x04\x0a\0\0\x07\0") + udp + b"data")
    found.append(build_ipv4(A4, B4, 17, 16, more_fragments=True) + bytes(16))
    for type_, rest in ((8, 5), (3, 1000), (11, 0), (5, 1), (12, 0), (13, 0)):
        message = build_icmp(type_, 4 if type_ == 3 else 0, rest, syn[:40])
        found.append(build_ipv4(A4, B4, 1, len(message)) + message)
    for type_ in (1, 2, 3, 4, 128, 129, 130, 131, 133, 134, 135, 136, 137):
        message = build_icmpv6(A6, B6, type_, 0, 1280, syn6[:60])
        found.append(build_ipv6(A6, B6, 58, len(message), 255) + message)
    options = bytes([17, 0, 5, 2, 0, 0, 1, 0])
    found.append(build_ipv6(A6, B6, 0, 20) + options + build_udp(A6, B6, 7, 53, b"data") + b"data")
    found.append(build_ipv6(A6, B6, 44, 24) + bytes([17, 0, 0, 1, 0, 0, 0, 9]) + bytes(16))
    return found


SAMPLES = samples()


def busy(config: StackConfig) -> Lone:
    net = Lone(config)
    net.b.listen(0, b"", 80)
    net.b.bind_udp(b"", 53)
    net.b.bind_udp(b"", 54, A4, 7)
    net.b.open_ping(5)
    net.b.connect(0, A4, 9)
    net.take()
    return net
