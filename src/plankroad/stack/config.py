"""`StackConfig`: every choice a host has, with its unit and where its default comes from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from plankroad.ip.neighbour_entry import NeighbourConfig
from plankroad.ip.routes import MULTIPATH_PER_FLOW
from plankroad.tcp.config import TcpConfig
from plankroad.tcp.fastopen_cookie import MAC_BLAKE2, MAC_SIPHASH
from plankroad.units import MILLISECOND, SECOND


@dataclass
class StackConfig:
    """Choices for a host. Times are nanoseconds, sizes bytes. `validate` tells what is wrong with a value."""

    #: What connections and listeners get that bring no configuration of their own.
    tcp: TcpConfig = field(default_factory=TcpConfig)

    # Host and router
    #: Pass on packets for others (RFC 1122 section 3.1: "MUST" be a switch, off by default).
    forwarding: bool = False
    #: Take a packet only by the interface that has its destination address, the strong model of RFC 1122 section
    #: 3.3.4.2; off, the weak model: any own address by any interface, as Linux.
    strong_host: bool = False
    #: Time to live or hop limit of what is not TCP (RFC 1122 section 3.2.1.7: configurable).
    ttl: int = 64
    #: Take packets that came by an IPv4 source route, and pass them on where `forwarding` is on (RFC 1122 section
    #: 3.3.5: "MUST" be off by default for passing on; Linux' accept_source_route).
    source_route: bool = False
    #: Follow the redirects of gateways, of both families; as a host, never as a router (RFC 1812 section 5.2.7.2).
    accept_redirects: bool = True
    #: Which of several equal routes is taken: `MULTIPATH_PER_FLOW` or `MULTIPATH_PER_PACKET` of `ip.routes`.
    multipath: int = MULTIPATH_PER_FLOW

    # Ethernet
    #: Use the addresses that `open_link` is given only once it is known that no other host on the link has them: this
    #: takes a second for IPv6 (RFC 4862 section 5.4), four to seven for IPv4 (RFC 5227 section 2.1). Off, they are used
    #: at once, and a conflict is noticed later (RFC 5227 section 2.4). Those made from a router's prefix are always
    #: checked.
    check_addresses: bool = False
    #: Neighbour discovery, ARP, address checks and router discovery.
    neighbours: NeighbourConfig = field(default_factory=NeighbourConfig)

    # ICMP
    #: Answer echo requests at all (RFC 1122 section 3.2.2.6: MUST).
    echo: bool = True
    #: Answer echo requests to IPv4 broadcast and multicast addresses (RFC 1122 section 3.2.2.6: MAY discard).
    echo_broadcast: bool = False
    #: Answer echo requests to IPv6 multicast addresses (RFC 4443 section 4.2: SHOULD).
    echo_multicast: bool = True
    #: Answer ICMP timestamp requests (RFC 1122 section 3.2.2.8: MAY).
    icmp_timestamp: bool = False
    #: When, on the stack's clock, a midnight UT was (modulo a day): timestamps in ICMP then tell the time of day, which
    #: RFC 1122 calls the standard value. -1: nobody knows, and they say so.
    midnight: int = -1
    #: ICMP errors a second and at once, in all (Linux: icmp_msgs_per_sec, icmp_msgs_burst). 0 = no limit.
    icmp_rate: int = 1000
    icmp_burst: int = 50
    #: The same to one destination.
    icmp_peer_rate: int = 10
    icmp_peer_burst: int = 6

    # Path MTU
    #: No message makes an IPv4 path narrower (Linux: min_pmtu).
    min_path_mtu: int = 552
    #: An estimate is kept so long (RFC 1191 section 6.3).
    path_mtu_lifetime: int = 600 * SECOND

    # Reassembly
    #: IPv4 datagrams wait so long for their fragments (Linux: ipfrag_time; RFC 1122 section 3.3.2: 60 to 120 s).
    ipv4_reassembly: int = 30 * SECOND
    #: RFC 8200 section 4.5.
    ipv6_reassembly: int = 60 * SECOND
    #: Memory for fragments, in all and of one source (Linux: ipfrag_high_thresh).
    reassembly_memory: int = 4 * 1024 * 1024
    reassembly_memory_source: int = 1024 * 1024

    # Memory
    #: Bytes that all connections and fragments together may hold: data unsent and unacknowledged, unread, out of order,
    #: in fragments, and what keeping it costs. From three quarters on buffers grow no more; at the bound the worst goes
    #: first, see `stack.shed`. (Linux: tcp_mem, in pages.)
    memory: int = 1 << 30
    #: Connections in TIME-WAIT; the oldest makes place (Linux: tcp_max_tw_buckets).
    time_wait_limit: int = 16384
    #: Connections whose programs are gone and which are not yet finished; those that stand still longest are reset
    #: (Linux: tcp_max_orphans).
    orphan_limit: int = 8192

    # Queues
    #: Packets that wait for a link: forwarded ones, and answers to strangers (Linux: txqueuelen).
    output_queue: int = 1000
    #: Packets to own addresses that wait to be taken in (Linux: netdev_max_backlog).
    loopback_queue: int = 1000
    #: IP packets within the host may have this size.
    loopback_mtu: int = 65535

    # Ports
    #: Ephemeral ports, both included (Linux: ip_local_port_range).
    first_port: int = 32768
    last_port: int = 60999

    # TCP Fast Open
    #: Servers whose cookies are remembered, and ports where Fast Open failed; 0 = connections never use it.
    fast_open_cache: int = 1024
    #: How long a key makes cookies for clients; they are good for as long again. 0 = for ever.
    fast_open_key_lifetime: int = 12 * 3600 * SECOND
    #: What makes cookies: "blake2s", or "siphash" as on Linux, for servers of both kinds that share an address and a
    #: key (RFC 7413 section 6.3.4; `Stack.set_fast_open_key`): 8 bytes, whatever `TcpConfig.fast_open_cookie` says.
    fast_open_mac: str = MAC_BLAKE2
    #: Failures in a row after which Fast Open rests on a path. RFC 7413 section 4.1.3.1 has it rest after any.
    fast_open_failures: int = 1
    #: How long no connection tries Fast Open once it failed towards three destinations in a row; doubled each time it
    #: happens again, up to 64 times as long (RFC 7413 section 4.1.3.1). 0 = only the paths that failed rest.
    fast_open_blackhole: int = 3600 * SECOND

    # UDP
    #: Receive and send buffer of an endpoint (Linux: rmem_default, wmem_default).
    udp_rcv_buf: int = 212992
    udp_snd_buf: int = 212992
    #: Give super-segments of UDP to links that take them.
    udp_gso: bool = True
    #: Replies and errors that wait for a program that pings.
    ping_queue: int = 256

    # Groups
    #: Tell routers and switches of the groups that are listened to (IGMP, MLD).
    group_reports: bool = True

    def validate(self) -> None:
        """Raise ValueError naming the field, the value and what it may be."""
        self.tcp.validate()
        self.neighbours.check()
        for name, low, high in _BOUNDS:
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"StackConfig.{name} is {value}; it must be from {low} to {high}")
        if self.last_port < self.first_port:
            raise ValueError("StackConfig.last_port must not be below first_port")
        if self.fast_open_mac not in (MAC_BLAKE2, MAC_SIPHASH):
            raise ValueError(
                f'StackConfig.fast_open_mac is {self.fast_open_mac!r}; it must be "blake2s" or "siphash"'
            )
        if self.icmp_rate and not self.icmp_burst:
            raise ValueError("StackConfig.icmp_burst is 0; with an icmp_rate it must be 1 or more")
        if self.icmp_peer_rate and not self.icmp_peer_burst:
            raise ValueError("StackConfig.icmp_peer_burst is 0; with an icmp_peer_rate it must be 1 or more")


_BOUNDS: Final = (
    ("ttl", 1, 255),
    ("multipath", 0, 1),
    ("midnight", -1, (1 << 62) - 1),
    ("icmp_rate", 0, 1_000_000_000),
    ("icmp_burst", 0, 1_000_000_000),
    ("icmp_peer_rate", 0, 1_000_000_000),
    ("icmp_peer_burst", 0, 1_000_000_000),
    ("min_path_mtu", 68, 65535),
    ("path_mtu_lifetime", 300 * SECOND, (1 << 62) - 1),
    ("ipv4_reassembly", MILLISECOND, 3600 * SECOND),
    ("ipv6_reassembly", MILLISECOND, 3600 * SECOND),
    ("reassembly_memory", 65536, 1 << 40),
    ("reassembly_memory_source", 65536, 1 << 40),
    ("memory", 1 << 20, 1 << 50),
    ("time_wait_limit", 1, 1 << 24),
    ("orphan_limit", 1, 1 << 24),
    ("output_queue", 1, 1_000_000),
    ("loopback_queue", 1, 1_000_000),
    ("loopback_mtu", 1280, 65535),
    ("first_port", 1, 65535),
    ("last_port", 1, 65535),
    ("fast_open_cache", 0, 1_000_000),
    ("fast_open_key_lifetime", 0, (1 << 62) - 1),
    ("fast_open_failures", 1, 1000),
    ("fast_open_blackhole", 0, 365 * 24 * 3600 * SECOND),
    ("udp_rcv_buf", 256, 1 << 40),
    ("udp_snd_buf", 256, 1 << 40),
    ("ping_queue", 1, 1_000_000),
)
