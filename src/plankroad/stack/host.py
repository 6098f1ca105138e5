"""`Host`: everything a stack knows, and nothing that acts.

The files around it are functions that take a Host, in the order in which they may import each other: `routing`,
`output`, `icmp_output`, `errors`, `tcp_output`, `shed`, `udp_output`, `forward`, `icmp_input`, `tcp_input`,
`udp_input`, `receive`, `work`. `Stack` is the Host with the methods that the world outside calls.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from random import Random
from typing import TYPE_CHECKING

from plankroad.endpoint import Endpoint
from plankroad.ip.ident import PacketIdent
from plankroad.ip.interface import Interface
from plankroad.ip.pmtu import PathMtuCache
from plankroad.ip.rate_limit import IcmpRateLimiter
from plankroad.ip.reassembly import FragmentTable
from plankroad.ip.routes import ROUTE_CONNECTED, Route, RouteTable
from plankroad.stack.config import StackConfig
from plankroad.stack.counters import StackCounters
from plankroad.stack.ports import BoundPorts, UdpPorts
from plankroad.stack.timers import TimerHeap
from plankroad.tcp.fastopen_cache import FastOpenCache
from plankroad.tcp.fastopen_cookie import FastOpenKeys
from plankroad.tcp.isn import IsnGenerator
from plankroad.tcp.memory import Memory
from plankroad.tcp.ports import PortAllocator
from plankroad.trace.eventlog import EventLog
from plankroad.udp.endpoint import UdpHost
from plankroad.wire.packet import Packet

if TYPE_CHECKING:
    from plankroad.stack.groups import GroupReports
    from plankroad.stack.path import Path
    from plankroad.stack.ping import PingEndpoint
    from plankroad.tcp.listen import Listener

#: The index of the loopback interface: no link has it, and `interfaces` does not hold it.
LOOPBACK_INDEX = -1


class Host(UdpHost):
    """The state of a host. All of it may be read; the methods of `Stack` change it.

    `connections` is the demultiplexing table: local address, local port, remote address, remote port. `paths` finds
    the same entry by the connection. `listeners` are by bound address and port.
    `work` are the endpoints that woke; `turn` those of them that are being served, from `turn_at` on; `remote` those
    that wait for a link with room. `ready` are those with events for the program.
    `output` are packets that are ready for a link; `loopback_queue` those for the host itself.
    `generation` grows with every change of the configuration that may concern a path.
    """

    __slots__ = (
        "config",
        "connections",
        "counters",
        "ethernets",
        "fast_open",
        "fast_open_keys",
        "fragments",
        "generation",
        "groups",
        "icmp_limit",
        "idents",
        "interfaces",
        "isn",
        "listeners",
        "log",
        "loopback",
        "loopback_queue",
        "loopback_route4",
        "loopback_route6",
        "memory",
        "on_link4",
        "on_link6",
        "orphans",
        "output",
        "paths",
        "pings",
        "pmtu",
        "ready",
        "ready_set",
        "remote",
        "rng",
        "routes",
        "secret",
        "sources",
        "tcp_bound",
        "tcp_ports",
        "time_waits",
        "timers",
        "turn",
        "turn_at",
        "udp",
        "work",
    )

    def __init__(self, config: StackConfig, rng: Random, secret: bytes, log: EventLog | None) -> None:
        config.validate()
        self.config = config
        self.rng = rng
        self.secret = secret
        self.log = log
        self.counters: StackCounters = StackCounters()

        # IP
        self.interfaces: list[Interface] = []
        self.ethernets: list[Interface] = []  # those of them with a neighbour cache
        self.loopback: Interface = Interface(
            LOOPBACK_INDEX, "lo", config.loopback_mtu, tx_csum=True, gso_max_size=config.loopback_mtu
        )
        self.loopback.add_address(b"\x7f\x00\x00\x01", 8)
        self.loopback.add_address(bytes(15) + b"\x01", 128)
        self.loopback_route4: Route = Route(bytes(4), 0, b"", self.loopback, origin=ROUTE_CONNECTED)
        self.loopback_route6: Route = Route(bytes(16), 0, b"", self.loopback, origin=ROUTE_CONNECTED)
        # For groups and broadcasts, which need no route: a route to anywhere on the link of each interface.
        self.on_link4: list[Route] = []
        self.on_link6: list[Route] = []
        self.routes: RouteTable = RouteTable(config.multipath, rng.getrandbits(32))
        self.generation: int = 0
        # IPv4 sources that were found to be good ones, with the interface they come in by.
        self.sources: dict[bytes, int] = {}
        self.pmtu: PathMtuCache = PathMtuCache(config.path_mtu_lifetime, config.min_path_mtu)
        self.fragments: FragmentTable = FragmentTable(
            self.counters.ip,
            config.ipv4_reassembly,
            config.ipv6_reassembly,
            # Fragments are at most a quarter of all that the stack may hold.
            min(config.reassembly_memory, config.memory >> 2),
            min(config.reassembly_memory_source, config.memory >> 2),
        )
        self.icmp_limit: IcmpRateLimiter = IcmpRateLimiter(
            rng, config.icmp_rate, config.icmp_burst, config.icmp_peer_rate, config.icmp_peer_burst
        )
        self.idents: PacketIdent = PacketIdent(secret, rng)
        self.groups: GroupReports | None = None

        # TCP
        self.isn: IsnGenerator = IsnGenerator(secret)
        self.tcp_ports: PortAllocator = PortAllocator(secret, config.first_port, config.last_port)
        self.connections: dict[tuple[bytes, int, bytes, int], Path] = {}
        self.paths: dict[Endpoint, Path] = {}
        self.listeners: dict[tuple[bytes, int], Listener] = {}
        self.memory: Memory = Memory(config.memory)
        # In TIME-WAIT, and without a program, in the order in which they came to that.
        self.time_waits: OrderedDict[Path, None] = OrderedDict()
        self.orphans: OrderedDict[Path, None] = OrderedDict()
        self.tcp_bound: BoundPorts = BoundPorts()
        self.fast_open: FastOpenCache = FastOpenCache(
            self.counters.tcp, config.fast_open_cache, config.fast_open_blackhole, config.fast_open_failures
        )
        self.fast_open_keys: FastOpenKeys = FastOpenKeys(secret, config.fast_open_key_lifetime, config.fast_open_mac)

        # UDP and ICMP
        self.udp: UdpPorts = UdpPorts(PortAllocator(secret + b"udp", config.first_port, config.last_port))
        self.pings: dict[int, PingEndpoint] = {}

        # Work
        self.work: list[Endpoint] = []
        self.turn: list[Endpoint] = []
        self.turn_at: int = 0
        self.remote: list[Endpoint] = []
        self.ready: deque[Endpoint] = deque()
        self.ready_set: set[Endpoint] = set()
        self.timers: TimerHeap = TimerHeap()
        self.output: deque[Packet] = deque()
        self.loopback_queue: deque[Packet] = deque()

    def interface_at(self, index: int) -> Interface | None:
        """The interface of this index, the loopback one included; None where there is none."""
        if 0 <= index < len(self.interfaces):
            return self.interfaces[index]
        return self.loopback if index == LOOPBACK_INDEX else None

    def owner(self, ip: bytes) -> Interface | None:
        """The interface that has this address; None where the address is not the host's own."""
        for interface in self.interfaces:
            address = interface.by_ip.get(ip)
            if address is not None and address.usable():
                return interface
        if ip in self.loopback.by_ip or (len(ip) == 4 and ip[0] == 127):
            return self.loopback
        return None

    def state_generation(self) -> int:
        """Another number whenever a route, an interface or a path MTU changed."""
        return self.generation + self.routes.generation + self.pmtu.generation

    def mark_ready(self, endpoint: Endpoint) -> None:
        """The endpoint has events for the program."""
        if endpoint not in self.ready_set:
            self.ready_set.add(endpoint)
            self.ready.append(endpoint)
