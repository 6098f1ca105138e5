"""`Ground`: where a script runs. The runner drives plankroad's stack and the kernel of the machine by this interface.

A ground is one host under test with one link, whose other end is the script: `inject` is what the script sends,
`take` what the host has sent. The host's program is the script too: `start` is a system call of it, which may go on
while the script does. Times are nanoseconds since the script's start, the ground's own clock.

    call = ground.start("accept", 3)
    ground.inject(syn)
    ground.advance(ground.now() + 10 * MILLISECOND)      # time goes on; calls return, packets come
    while (sent := ground.take()) is not None: ...
    assert call.done
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Final, NamedTuple

from plankroad.packetdrill.timing import DEFAULT_PERCENT, DEFAULT_TOLERANCE
from plankroad.testing.call import Call
from plankroad.wire.address import ip_to_bytes

#: `Settings.ip_version`: sockets of AF_INET, of AF_INET6 that speak IPv4 (names ::ffff:a.b.c.d), of AF_INET6.
IPV4: Final = "ipv4"
MAPPED: Final = "ipv4-mapped-ipv6"
IPV6: Final = "ipv6"


class Settings:
    """The addresses, ports and sizes of one run: the script's options, then those of the command line.

    `local` and `remote` are the addresses on the wire, 4 or 16 bytes by `ip_version`; `prefix` bits are on the link.
    `bind_port` is where the script's server listens, and the local port its packets have unless they name another;
    `connect_port` is the peer's where the script's program connects.
    """

    __slots__ = (
        "bind_port",
        "bursts_hidden",
        "connect_port",
        "gateway",
        "ip_version",
        "local",
        "local_link_local",
        "mss",
        "mtu",
        "prefix",
        "pushes_bursts",
        "remote",
        "scale_echoes",
        "seed",
        "speed",
        "strict_segments",
        "tick",
        "tolerance",
        "tolerance_percent",
    )

    def __init__(self, ip_version: str = IPV4) -> None:
        if ip_version not in (IPV4, MAPPED, IPV6):
            raise ValueError(f"ip_version is {ip_version!r}; it must be {IPV4}, {MAPPED} or {IPV6}")
        self.ip_version = ip_version
        six = ip_version == IPV6
        self.local: bytes = ip_to_bytes("fd3d:0a0b:17d6::1" if six else "192.168.0.1")
        self.remote: bytes = ip_to_bytes("2001:db8::1" if six else "192.0.2.1")
        self.gateway: bytes = ip_to_bytes("fd3d:0a0b:17d6:8888::1" if six else "192.168.0.2")
        self.local_link_local: bytes = ip_to_bytes("fe80::1") if six else b""
        self.prefix: int = 64 if six else 16
        self.mtu: int = 1500
        #: An injected segment with more data comes as a device joins it of segments of this size; 0: as one segment.
        self.mss: int = 0
        self.bind_port: int = 8080
        self.connect_port: int = 8080
        #: Nanoseconds that a packet or a return may be off its time; or per cent of the time since the event before.
        self.tolerance: int = DEFAULT_TOLERANCE
        self.tolerance_percent: float = DEFAULT_PERCENT
        #: Nanoseconds a unit of the host's timestamps; 0: they are not compared.
        self.tick: int = 0
        #: What packets of the script echo is reckoned from the first timestamp of the host.
        self.scale_echoes: bool = False
        #: Segments must be cut as the script has them.
        self.strict_segments: bool = False
        #: The host sets PSH on the last segment of each super-segment that it makes, as the kernel does.
        self.pushes_bursts: bool = False
        #: Nobody can tell which they were (`Sent.ends_burst`).
        self.bursts_hidden: bool = False
        #: Bits a second of the link where the ground has such a thing; 0 = as fast as it can.
        self.speed: int = 0
        self.seed: int = 0


class Sent(NamedTuple):
    """A packet that the host under test sent: when, and an IP packet as on the wire (checksums complete).

    `ends_burst`: it is the last of those that a super-segment was cut into.
    """

    time: int
    packet: bytes
    ends_burst: bool = False


class CommandResult(NamedTuple):
    """What a command in backticks did: its exit status and what it printed."""

    status: int
    output: str = ""


class Ground(ABC):
    """See the module. Every method but `close` raises `ScriptError` for what cannot be carried out."""

    #: Times are exact: nothing the machine does besides makes a packet late.
    virtual: bool = False

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @abstractmethod
    def now(self) -> int:
        """The time: nanoseconds since the script's start."""

    @abstractmethod
    def inject(self, packet: bytes) -> None:
        """An IP packet reaches the host now."""

    @abstractmethod
    def take(self) -> Sent | None:
        """The oldest packet that the host has sent and that was not taken yet; None where there is none. No waiting."""

    @abstractmethod
    def advance(self, until: int) -> None:
        """Let time go on to `until`. What is due by then has happened: packets can be taken, calls are done."""

    @abstractmethod
    def wait_packet(self, until: int) -> bool:
        """Let time go on until a packet can be taken, or to `until`; true where there is one."""

    @abstractmethod
    def wait_call(self, call: Call, until: int) -> bool:
        """Let time go on until `call` is done, or to `until`; true where it is done."""

    @abstractmethod
    def start(self, kind: str, *arguments: object) -> Call:
        """Begin a system call, by the table in `plankroad.testing.call`; it may be done at once.

        Descriptors are numbered as a program's that has three open already: the first is 3. ScriptError names a call
        that the ground does not have, or arguments that are not the table's.
        """

    @abstractmethod
    def info(self, fd: int) -> dict[str, int]:
        """`tcp_info` of the connection at `fd`, as scripts know it: by the names `tcpi_...`, in Linux's meaning."""

    @abstractmethod
    def command(self, text: str) -> CommandResult:
        """Carry out a command in backticks. UnknownCommandError names one that the ground does not know."""

    @abstractmethod
    def close(self) -> None:
        """The end of the script: everything is given back. No more packets come; a second call does nothing."""
