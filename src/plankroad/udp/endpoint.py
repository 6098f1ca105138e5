"""`UdpEndpoint`: what a program's UDP socket is (RFC 768, RFC 1122 section 4.1, RFC 8085).

The endpoint keeps queues and choices. What it needs to know of the host (routes, ports, groups) it asks of a
`UdpHost`, which the stack is. Datagrams go in by `deliver`, errors by `deliver_error`, and out by `poll_transmit`.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from typing import Final

from plankroad.compat import mypyc_attr
from plankroad.endpoint import EVENT_ERROR, EVENT_READABLE, EVENT_SOFT_ERROR, EVENT_WRITABLE, Endpoint
from plankroad.tcp.icmp import FRAGMENTATION_NEEDED, PORT_UNREACHABLE, PROTOCOL_UNREACHABLE
from plankroad.udp.counters import UdpCounters
from plankroad.udp.datagram import Datagram, OutDatagram, UdpError
from plankroad.wire.address import is_multicast
from plankroad.wire.ipv4_options import find_option_error

#: Path MTU policies, with Linux's names and numbers (IP_MTU_DISCOVER).
PMTU_DONT: Final = 0  #: never sets Don't Fragment; cut into fragments where it is larger than the link's MTU
PMTU_WANT: Final = 1  #: Don't Fragment on what fits the known path MTU, fragments for what does not
PMTU_DO: Final = 2  #: Don't Fragment always; what is larger than the path MTU is refused with EMSGSIZE
PMTU_PROBE: Final = 3  #: as PMTU_DO, but only the link's MTU bounds it

#: What a datagram takes of a buffer beside its bytes, so that empty ones cannot fill memory.
OVERHEAD: Final = 128

#: Errors kept for a program that does not ask for them; the oldest is forgotten first.
MAX_ERRORS: Final = 64

#: Destinations remembered of an endpoint that speaks to anyone.
MAX_RECENT: Final = 1024

#: Datagrams of one super-segment at most, as UDP_MAX_SEGMENTS of Linux.
MAX_SEGMENTS: Final = 64


def os_error(number: int) -> OSError:
    """The OSError of this errno; Python picks the subclass (`ConnectionRefusedError`, ...)."""
    return OSError(number, os.strerror(number))


@mypyc_attr(allow_interpreted_subclasses=True)
class UdpHost:
    """What an endpoint asks of its host. The stack has the real one."""

    __slots__ = ()

    def udp_source(self, endpoint: UdpEndpoint, dst: bytes, local: bytes, interface: int) -> bytes:
        """The source address of a datagram to `dst`: `local` where it is given and the host's own.

        Raises OSError with ENETUNREACH, EADDRNOTAVAIL, EINVAL or EACCES.
        """
        raise NotImplementedError

    def udp_limit(self, now: int, endpoint: UdpEndpoint, dst: bytes, interface: int) -> int:
        """The largest IP packet to `dst` that is not fragmented, by the endpoint's path MTU policy."""
        raise NotImplementedError

    def udp_connect(self, endpoint: UdpEndpoint, addr: bytes, port: int) -> None:
        """Make `addr`, `port` the endpoint's only peer; b"" and 0 for none again. Raises OSError."""
        raise NotImplementedError

    def udp_join(self, now: int, endpoint: UdpEndpoint, group: bytes, interface: int) -> int:
        """Listen to a group; the index of the interface where it does. Raises OSError with ENODEV."""
        raise NotImplementedError

    def udp_leave(self, now: int, endpoint: UdpEndpoint, group: bytes, interface: int) -> None:
        """Undo a `udp_join`."""
        raise NotImplementedError

    def udp_unbind(self, endpoint: UdpEndpoint) -> None:
        """Take the endpoint out of the port table."""
        raise NotImplementedError


class UdpEndpoint(Endpoint):
    """A UDP port in use.

    `local_addr` is b"" for any address of both families, all zeros for any of one family; while connected it is the
    address used towards the peer, and `bound_addr` what was bound. `remote_addr` is b"" unless
    connected: then only that peer's datagrams come in, and `send_to` needs no address.

    Choices, to be set at any time, in force for what is sent from then on: `ttl` (-1 = the host's), `tos`,
    `multicast_ttl`, `multicast_loop` (own datagrams to a group come back), `multicast_interface` (index, -1 = by
    route), `broadcast` (allowed at all: SO_BROADCAST), `pmtu` (a `PMTU_` constant), `no_checksum` (IPv4 only),
    `options` (raw IPv4 options), `rcv_buf` and `snd_buf` (bytes; each datagram counts `OVERHEAD` more).

    Events: READABLE, WRITABLE (after a `send_to` that raised BlockingIOError), ERROR (a connected endpoint's peer
    refused; `error`), SOFT_ERROR (any other ICMP error; `soft_error`). `poll_error` tells each error in full.
    """

    __slots__ = (
        "bound_addr",
        "broadcast",
        "closed",
        "counters",
        "dropped",
        "errors",
        "groups",
        "host",
        "local_addr",
        "local_port",
        "multicast_interface",
        "multicast_loop",
        "multicast_ttl",
        "no_checksum",
        "options",
        "pmtu",
        "rcv_buf",
        "rcv_queue",
        "rcv_queued",
        "recent",
        "remote_addr",
        "remote_port",
        "reuse",
        "send_blocked",
        "snd_buf",
        "snd_queue",
        "snd_queued",
        "tos",
        "ttl",
    )

    def __init__(
        self,
        host: UdpHost,
        counters: UdpCounters,
        local_addr: bytes,
        local_port: int,
        rcv_buf: int,
        snd_buf: int,
        work: list[Endpoint] | None = None,
    ) -> None:
        super().__init__(work)
        self.host = host
        self.counters = counters
        self.local_addr = local_addr
        self.bound_addr: bytes = local_addr
        self.local_port = local_port
        self.remote_addr: bytes = b""
        self.remote_port: int = 0
        self.rcv_buf = rcv_buf
        self.snd_buf = snd_buf
        self.rcv_queue: deque[Datagram] = deque()
        self.rcv_queued: int = 0
        self.snd_queue: deque[OutDatagram] = deque()
        self.snd_queued: int = 0
        self.errors: deque[UdpError] = deque()
        self.groups: set[tuple[bytes, int]] = set()
        #: Destinations while there is no single one, oldest first.
        self.recent: dict[tuple[bytes, int], None] = {}
        self.dropped: int = 0
        self.send_blocked: bool = False
        self.closed: bool = False
        self.reuse: bool = False
        self.ttl: int = -1
        self.tos: int = 0
        self.multicast_ttl: int = 1
        self.multicast_loop: bool = True
        self.multicast_interface: int = -1
        self.broadcast: bool = False
        self.pmtu: int = PMTU_WANT
        self.no_checksum: bool = False
        self.options: bytes = b""

    # Commands of the program

    def connect(self, addr: bytes, port: int) -> None:
        """Make this the only peer. b"" and 0: talk to anyone again. Raises OSError (EINVAL, ENETUNREACH, ...)."""
        self.check_open()
        self.host.udp_connect(self, addr, port)

    def send_to(
        self,
        now: int,
        data: bytes,
        addr: bytes = b"",
        port: int = 0,
        local: bytes = b"",
        interface: int = -1,
        gso_size: int = 0,
    ) -> None:
        """Queue a datagram to `addr`, `port`, or to the connected peer where no address is given.

        `local`: the source address, b"" = the bound one or what the host selects. `interface`: index of the one to
        leave by. `gso_size`: cut `data` into datagrams of this size, at most `MAX_SEGMENTS` of them.

        Raises OSError: EBADF (closed), EDESTADDRREQ, EINVAL (port 0, a choice out of bounds), EAFNOSUPPORT, EMSGSIZE
        (RFC 1122 section 4.1.4: larger than IP takes, or than the path takes where fragments are refused), EACCES
        (broadcast is not allowed), ENETUNREACH, EADDRNOTAVAIL, and BlockingIOError (EAGAIN) while the send buffer is
        full: nothing was queued, and EVENT_WRITABLE will say when to try again.
        """
        self.check_open()
        if not addr:
            addr = self.remote_addr
            port = self.remote_port
            if not addr:
                raise os_error(errno.EDESTADDRREQ)
        if not 1 <= port <= 65535:
            raise os_error(errno.EINVAL)
        if len(addr) not in (4, 16):
            raise os_error(errno.EINVAL)
        self.check_choices()
        size = len(data)
        piece = size
        if gso_size:
            if gso_size < 0 or gso_size * MAX_SEGMENTS < size:
                raise os_error(errno.EINVAL)
            piece = min(gso_size, size)
        # RFC 768 and RFC 791: 16 bits of length. The IPv6 payload length does not count the IPv6 header.
        header = 28 + (len(self.options) + 3 & ~3) if len(addr) == 4 else 8
        if size + header > 65535:
            self.counters.too_big += 1
            raise os_error(errno.EMSGSIZE)
        if interface < 0 and is_multicast(addr):
            interface = self.multicast_interface
        src = self.choose_source(addr, local, interface)
        if self.pmtu >= PMTU_DO:
            ip_header = header if len(addr) == 4 else 48
            if piece + ip_header > self.host.udp_limit(now, self, addr, interface):
                self.counters.too_big += 1
                raise os_error(errno.EMSGSIZE)
        cost = size + OVERHEAD
        # One datagram is always taken, or a small buffer would refuse a large one for ever.
        if self.snd_queue and self.snd_queued + cost > self.snd_buf:
            self.send_blocked = True
            self.counters.send_buffer_full += 1
            raise os_error(errno.EAGAIN)
        out = OutDatagram(data, src, self.local_port, addr, port)
        out.ttl = self.multicast_ttl if is_multicast(addr) else self.ttl
        out.tos = self.tos
        out.gso_size = gso_size if piece < size else 0
        out.interface = interface
        out.pmtu = self.pmtu
        out.loop = self.multicast_loop
        out.no_checksum = self.no_checksum and len(addr) == 4
        if len(addr) == 4:
            out.options = self.options
        if not self.remote_addr:
            self.note(addr, port)
        self.snd_queue.append(out)
        self.snd_queued += cost
        self.wake()

    def receive_from(self) -> Datagram | None:
        """The next datagram, None where there is none."""
        if not self.rcv_queue:
            return None
        datagram = self.rcv_queue.popleft()
        self.rcv_queued -= len(datagram.data) + OVERHEAD
        return datagram

    def poll_error(self) -> UdpError | None:
        """The oldest error not yet told, None where there is none."""
        if not self.errors:
            return None
        return self.errors.popleft()

    def take_error(self) -> int:
        """The errno that stands, which it clears (SO_ERROR); 0 for none."""
        number = self.error
        self.error = 0
        return number

    def join(self, now: int, group: bytes, interface: int = -1) -> None:
        """Listen to a multicast group (on the interface that the route to it leaves by).

        Raises OSError: EINVAL (no group), EADDRINUSE (joined already), ENODEV (no such interface).
        """
        self.check_open()
        if not is_multicast(group):
            raise os_error(errno.EINVAL)
        index = self.host.udp_join(now, self, group, interface)
        self.groups.add((group, index))

    def leave(self, now: int, group: bytes, interface: int = -1) -> None:
        """Undo `join`. Raises OSError with EADDRNOTAVAIL where the group was not joined."""
        for joined, index in self.groups:
            if joined == group and interface in (-1, index):
                self.groups.discard((group, index))
                self.host.udp_leave(now, self, group, index)
                return
        raise os_error(errno.EADDRNOTAVAIL)

    def close(self, now: int) -> None:
        """Give the port back. What was queued still goes out; what was received is dropped. Twice does no harm."""
        if self.closed:
            return
        self.closed = True
        for group, index in self.groups:
            self.host.udp_leave(now, self, group, index)
        self.groups.clear()
        self.host.udp_unbind(self)
        self.rcv_queue.clear()
        self.rcv_queued = 0
        self.errors.clear()
        self.recent.clear()
        self.wake()

    # Inputs

    def deliver(self, datagram: Datagram) -> bool:
        """A datagram for this endpoint; False where its receive buffer is full."""
        cost = len(datagram.data) + OVERHEAD
        if self.rcv_queued + cost > self.rcv_buf and self.rcv_queue:
            self.dropped += 1
            self.counters.receive_buffer_full += 1
            return False
        self.rcv_queue.append(datagram)
        self.rcv_queued += cost
        self.events |= EVENT_READABLE
        self.wake()
        return True

    def deliver_error(self, error: UdpError) -> None:
        """An ICMP error about a datagram of this endpoint. RFC 1122 section 4.1.3.3: all of them are passed on."""
        # Where fragments are allowed a lower path MTU is no error: the next datagram is cut to fit.
        if error.kind == FRAGMENTATION_NEEDED and self.pmtu < PMTU_DO:
            return
        if len(self.errors) >= MAX_ERRORS:
            self.errors.popleft()
        self.errors.append(error)
        connected = bool(self.remote_addr) and error.addr == self.remote_addr and error.port == self.remote_port
        if connected and error.kind in (PORT_UNREACHABLE, PROTOCOL_UNREACHABLE):
            self.error = error.errno
            self.events |= EVENT_ERROR
        else:
            self.soft_error = error.errno
            self.events |= EVENT_SOFT_ERROR
        self.wake()

    # Outputs

    def poll_transmit(self) -> OutDatagram | None:
        """The next datagram to send, None where there is none."""
        if not self.snd_queue:
            return None
        out = self.snd_queue.popleft()
        self.snd_queued -= len(out.data) + OVERHEAD
        if self.send_blocked and self.snd_queued * 2 <= self.snd_buf:
            self.send_blocked = False
            self.events |= EVENT_WRITABLE
        return out

    def has_sent(self, addr: bytes, port: int) -> bool:
        """Whether a datagram lately went to this destination.

        RFC 8201 section 4: what a Packet Too Big message quotes must be of a path in use, or anybody could lower any
        path's MTU.
        """
        if self.remote_addr:
            return self.remote_addr == addr and self.remote_port == port
        return (addr, port) in self.recent

    # Inside

    def note(self, addr: bytes, port: int) -> None:
        """Remember where a datagram goes; the destination noted longest ago is forgotten first."""
        key = (addr, port)
        recent = self.recent
        if key in recent:
            return
        if len(recent) >= MAX_RECENT:
            for oldest in recent:
                del recent[oldest]
                break
        recent[key] = None

    def check_open(self) -> None:
        """Raise OSError with EBADF after `close`."""
        if self.closed:
            raise os_error(errno.EBADF)

    def check_choices(self) -> None:
        """Raise OSError with EINVAL where a choice that goes into the header is out of bounds."""
        # RFC 1122 section 3.2.1.7: "A host MUST NOT send a datagram with a Time-to-Live (TTL) value of zero." That of
        # a group may be 0: such a datagram stays within the host.
        if not -1 <= self.ttl <= 255 or self.ttl == 0:
            raise os_error(errno.EINVAL)
        if not 0 <= self.multicast_ttl <= 255 or not 0 <= self.tos <= 255:
            raise os_error(errno.EINVAL)
        if self.options and (len(self.options) > 40 or find_option_error(self.options) >= 0):
            raise os_error(errno.EINVAL)

    def choose_source(self, addr: bytes, local: bytes, interface: int) -> bytes:
        """RFC 1122 section 4.1.3.5: the program chooses the source, or leaves it wild and the host does."""
        bound = self.bound_addr if not self.remote_addr else self.local_addr
        if bound and len(bound) != len(addr):
            raise os_error(errno.EAFNOSUPPORT)
        if local and len(local) != len(addr):
            raise os_error(errno.EAFNOSUPPORT)
        if not local and bound and any(bound) and not is_multicast(bound):
            local = bound
        return self.host.udp_source(self, addr, local, interface)
