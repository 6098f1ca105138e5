"""What a UDP endpoint takes in and gives out: datagrams and errors about them."""

from __future__ import annotations


class Datagram:
    """A datagram that was received, with all that IP knows of it.

    `addr`, `port`: where it came from. `local_addr`: where it was sent to, the specific-destination address of
    RFC 1122 section 4.1.3.5. `interface`: index of the interface it came in by. `ttl`, `tos`: the header's (hop limit
    and traffic class in IPv6). `options`: the raw IPv4 options (RFC 1122 section 4.1.3.2).
    """

    __slots__ = ("addr", "data", "interface", "local_addr", "options", "port", "tos", "ttl")

    def __init__(
        self,
        data: bytes,
        addr: bytes,
        port: int,
        local_addr: bytes,
        interface: int,
        ttl: int,
        tos: int,
        options: bytes = b"",
    ) -> None:
        self.data = data
        self.addr = addr
        self.port = port
        self.local_addr = local_addr
        self.interface = interface
        self.ttl = ttl
        self.tos = tos
        self.options = options


class OutDatagram:
    """A datagram on its way out, with the choices that stood when the program sent it.

    `gso_size`: 0, or the size of the datagrams that `data` is to be cut into (the last may be shorter).
    `interface`: index of the interface it must leave by, -1 = whichever the route says.
    `pmtu`: a `PMTU_` constant of `udp.endpoint`. `loop`: members of the group on this host get it too.
    """

    __slots__ = (
        "data",
        "dst",
        "dst_port",
        "gso_size",
        "interface",
        "loop",
        "no_checksum",
        "options",
        "pmtu",
        "src",
        "src_port",
        "tos",
        "ttl",
    )

    def __init__(self, data: bytes, src: bytes, src_port: int, dst: bytes, dst_port: int) -> None:
        self.data = data
        self.src = src
        self.src_port = src_port
        self.dst = dst
        self.dst_port = dst_port
        self.ttl: int = 64
        self.tos: int = 0
        self.gso_size: int = 0
        self.interface: int = -1
        self.pmtu: int = 1
        self.no_checksum: bool = False
        self.loop: bool = True
        self.options: bytes = b""


class UdpError:
    """An ICMP error about a datagram that was sent (RFC 1122 section 4.1.3.3).

    `kind` is one of the kinds of `tcp.icmp`, `errno` what a program hears. `addr`, `port`: where the datagram was
    going. `offender`: the router or host that said so. `mtu`: the next hop's, for FRAGMENTATION_NEEDED, else 0.
    """

    __slots__ = ("addr", "errno", "kind", "mtu", "offender", "port")

    def __init__(self, kind: int, errno: int, addr: bytes, port: int, offender: bytes, mtu: int = 0) -> None:
        self.kind = kind
        self.errno = errno
        self.addr = addr
        self.port = port
        self.offender = offender
        self.mtu = mtu
