"""Which conversation a packet of a script belongs to: the language names none, unless a packet has ports.

A packet without ports belongs to the newest conversation. One begins with a call that connects, or with the first SYN
that comes in after a call of listen: so a script that wants a second connection to its server listens anew, or gives
ports. What the stack sends to a conversation that is over for the script cannot be spoken of, and is passed over.
"""

from __future__ import annotations

from typing import Final

from plankroad.packetdrill.flow import Flow
from plankroad.packetdrill.ground import Settings
from plankroad.packetdrill.seen import Seen
from plankroad.packetdrill.syntax import ACK, RST, SYN, Icmp, Packet, Tcp, Udp
from plankroad.wire.constants import PROTO_TCP, PROTO_UDP

#: The remote port of the first conversation that the script opens; the next ones count up.
FIRST_PORT: Final = 40000


class Conversation:
    """A flow, and the program's side of it: `fd` is the script's descriptor, -1 while it has none.

    `named`: the script speaks of it by its ports. `left`: a newer one took its place.
    """

    __slots__ = ("fd", "flow", "left", "named", "protocol", "read_at", "reads_checked", "written")

    def __init__(self, flow: Flow, protocol: int) -> None:
        self.flow = flow
        self.protocol = protocol
        self.fd = -1
        self.named = False
        self.left = False
        #: What the program wrote, as far as it is known; `Flow.outgoing` while all of it is.
        self.written = bytearray()
        flow.outgoing = self.written
        #: How much the program has read; whether what it reads is compared with what was injected.
        self.read_at = 0
        self.reads_checked = protocol == PROTO_TCP

    def is_of(self, seen: Seen) -> bool:
        """A packet of the stack belongs to it, or may belong to it where its own port is not known yet."""
        flow = self.flow
        if seen.protocol != self.protocol:
            if seen.quoted is None:
                return False
            quoted = seen.quoted
            return (quoted.src, quoted.dst) == (flow.remote, flow.local)
        if seen.destination != flow.remote_port or (flow.local_port and seen.source != flow.local_port):
            return False
        return (seen.src, seen.dst) == (flow.local, flow.remote)


class Conversations:
    """All of one run."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.all: list[Conversation] = []
        self.current: Conversation | None = None
        #: The port of a listener that has not had its first SYN.
        self.listening = 0
        self.by_fd: dict[int, Conversation] = {}
        #: TCP_MAXSEG of descriptors; the one that listens.
        self.mss_limits: dict[int, int] = {}
        self.listening_fd = -1
        self._next_port = FIRST_PORT

    # What the program does

    def limits_segments(self, fd: int, size: int) -> None:
        """The program bounds the MSS of descriptor `fd`."""
        self.mss_limits[fd] = size
        found = self.by_fd.get(fd)
        if found is not None:
            found.flow.mss_limit = size

    def listens(self, port: int, fd: int = -1) -> None:
        """listen succeeded on a socket, `fd`, bound to `port`."""
        self.listening = port
        self.listening_fd = fd

    def connects(self, fd: int, port: int, remote: bytes, local_port: int, protocol: int) -> Conversation:
        """The program opens a conversation from descriptor `fd`."""
        settings = self.settings
        flow = self._flow(local_port, port or settings.connect_port, True)
        if remote:
            flow.remote = remote
        flow.mss_limit = self.mss_limits.get(fd, 0)
        found = self._begin(flow, protocol)
        found.fd = fd
        self.by_fd[fd] = found
        return found

    def accepted(self, fd: int, port: int) -> None:
        """accept gave descriptor `fd` for the peer at `port`."""
        for found in reversed(self.all):
            if found.fd < 0 and not found.flow.active and found.flow.remote_port == port:
                found.fd = fd
                self.by_fd[fd] = found
                return

    def closed(self, fd: int) -> None:
        """Descriptor `fd` was closed; what follows of its conversation is still looked at."""
        self.by_fd.pop(fd, None)
        self.mss_limits.pop(fd, None)

    # What packets say

    def of_injected(self, packet: Packet) -> Conversation:
        """The conversation of a packet that the script sends; a SYN may begin one."""
        body = packet.body
        protocol = PROTO_UDP if isinstance(body, Udp) else PROTO_TCP
        if not isinstance(body, Icmp) and body.ports is not None:
            source, destination = body.ports.source, body.ports.destination
            found = self._by_ports(protocol, destination, source)
            if found is None:
                found = self._begin(self._flow(destination, source, False), protocol)
                found.named = True
            return found
        opens = isinstance(body, Tcp) and body.flags & SYN and not body.flags & (ACK | RST)
        if opens and self.listening:
            port = self.listening
            self.listening = 0
            found = self._begin(self._flow(port, self._port(), False), protocol)
            found.flow.mss_limit = self.mss_limits.get(self.listening_fd, 0)
            return found
        if self.current is None:
            return self._begin(self._flow(self.settings.bind_port, self._port(), False), protocol)
        return self.current

    def of_expected(self, packet: Packet) -> Conversation:
        """The conversation of a packet that the script expects."""
        body = packet.body
        protocol = PROTO_UDP if isinstance(body, Udp) else PROTO_TCP
        if not isinstance(body, Icmp) and body.ports is not None:
            source, destination = body.ports.source, body.ports.destination
            found = self._by_ports(protocol, source, destination)
            if found is None:
                current = self.current
                if current is not None and not current.flow.local_port and current.flow.remote_port == destination:
                    current.flow.local_port = source
                    return current
                found = self._begin(self._flow(source, destination, True), protocol)
                found.named = True
            return found
        if self.current is None:
            return self._begin(self._flow(self.settings.bind_port, self._port(), False), protocol)
        return self.current

    def passes_over(self, seen: Seen, expected: Conversation) -> bool:
        """A packet that belongs to a conversation which the script left, and not to the one that is expected."""
        maybe: Conversation | None = None
        for other in reversed(self.all):
            if other.is_of(seen):
                if other.flow.local_port or seen.protocol != other.protocol:
                    return other.left and other is not expected
                maybe = maybe or other
        return maybe is not None and maybe.left and maybe is not expected

    # Inside

    def _port(self) -> int:
        port = self._next_port
        self._next_port += 1
        return port

    def _by_ports(self, protocol: int, local: int, remote: int) -> Conversation | None:
        for found in reversed(self.all):
            if found.protocol == protocol and (found.flow.local_port, found.flow.remote_port) == (local, remote):
                found.named = True
                found.left = False
                self.current = found
                return found
        return None

    def _flow(self, local_port: int, remote_port: int, active: bool) -> Flow:
        settings = self.settings
        return Flow(
            settings.local,
            settings.remote,
            local_port,
            remote_port,
            active,
            settings.mtu,
            settings.tick,
            settings.scale_echoes,
        )

    def _begin(self, flow: Flow, protocol: int) -> Conversation:
        current = self.current
        if current is not None and not current.named:
            current.left = True
        found = Conversation(flow, protocol)
        self.all.append(found)
        self.current = found
        return found
