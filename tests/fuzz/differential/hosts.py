"""The two hosts that a dialogue is held with: plankroad's stack in virtual time, and the kernel behind a TUN device.

Each answers a step with the packets that it sends at once, and with what its program sees.
"""

from __future__ import annotations

import contextlib
import errno
import os
import random
import select
import socket
import struct
import subprocess
import time
from typing import Final

from tests.fuzz.differential.dialogue import CLOSE, READ, SHUTDOWN, STREAM, WRITE, Step
from tests.interop.netns import Namespace

from plankroad.stack.config import StackConfig
from plankroad.stack.stack import Stack
from plankroad.tcp.config import TcpConfig
from plankroad.tcp.connection import Connection
from plankroad.tcp.constants import CLOSED
from plankroad.units import MILLISECOND
from plankroad.wire.address import ip_to_bytes
from plankroad.wire.checksum import complete
from plankroad.wire.constants import PROTO_ICMP
from plankroad.wire.icmp import build_icmp
from plankroad.wire.ipv4 import build_ipv4
from plankroad.wire.packet import Packet

HOST: Final = ip_to_bytes("10.66.0.1")
PORT: Final = 8080

#: Nanoseconds of a step.
STEP: Final = 10_000

#: Seconds that a fence may take: an answer that does not come at all is an error of the set-up.
LIMIT: Final = 20.0

#: What makes the kernel's answers a matter of rules and not of timers and limits.
SYSCTLS: Final[dict[str, str]] = {
    # Challenge ACKs and answers to segments out of the window, as many as are due.
    "net/ipv4/tcp_invalid_ratelimit": "0",
    "net/ipv4/tcp_challenge_ack_limit": "2147483647",
    # No tail loss probes, no held back small segments, no memory of other connections.
    "net/ipv4/tcp_early_retrans": "0",
    "net/ipv4/tcp_autocorking": "0",
    "net/ipv4/tcp_no_metrics_save": "1",
    "net/ipv4/tcp_fastopen": "0",
    "net/ipv4/tcp_max_syn_backlog": "4096",
}


class Seen:
    """What a program saw in a step: octets read, the end, an errno."""

    __slots__ = ("data", "end", "error", "taken")

    def __init__(self) -> None:
        self.data = b""
        self.end = False
        self.error = 0
        self.taken = -1

    def __str__(self) -> str:
        parts = []
        if self.taken >= 0:
            parts.append(f"wrote {self.taken}")
        if self.data:
            parts.append(f"read {len(self.data)}")
        if self.end:
            parts.append("end")
        if self.error:
            parts.append(errno.errorcode.get(self.error, str(self.error)))
        return " ".join(parts)

    def key(self) -> tuple[object, ...]:
        return self.data, self.end, self.error, self.taken


class OurHost:
    """Plankroad's stack with a listener; a step takes so little time that no timer expires in a dialogue."""

    def __init__(self) -> None:
        config = StackConfig(
            tcp=TcpConfig(
                delayed_ack=0, quick_acks=1000, challenge_ack_limit=1_000_000, rcv_buf=131_072, pacing=False
            )
        )
        self.stack = Stack(config, random.Random(1), bytes(16))
        interface = self.stack.add_interface("e0", 1500)
        self.stack.add_address(interface, "10.66.0.1/16")
        self.now = 1000 * MILLISECOND
        self.listener = self.stack.listen(self.now, b"", PORT)
        self.connection: Connection | None = None
        self.written = 0
        self.told = False  # the program knows of the connection's error

    def begin(self) -> None:
        """A dialogue begins."""
        self.connection = None
        self.written = 0
        self.told = False

    def send(self, packet: bytes) -> list[bytes]:
        """A packet arrives; what is answered."""
        self.stack.receive(self.now, Packet(packet))
        return self._settle()

    def program(self, step: Step, seen: Seen) -> list[bytes]:
        """The program acts; what is sent."""
        connection = self.connection
        if connection is None:
            return []
        over = connection.tcb.state == CLOSED
        try:
            if step.kind == WRITE:
                data = STREAM[self.written : self.written + step.length]
                seen.taken = connection.send(self.now, data)
                self.written += seen.taken
            elif step.kind == READ:
                seen.data = connection.receive(self.now, step.length)
                if not seen.data:
                    if over and connection.error and not self.told and not connection.at_eof():
                        seen.error, self.told = connection.error, True
                    else:
                        seen.end = connection.at_eof() or over
            elif step.kind == SHUTDOWN:
                if over:
                    seen.error = errno.ENOTCONN
                connection.close(self.now)
            elif step.kind == CLOSE:
                connection.release(self.now)
                self.connection = None
        except OSError as error:
            # An error is told once; then a socket's end is a broken pipe.
            seen.error = errno.EPIPE if self.told or connection.at_eof() else error.errno or 0
            self.told = True
        return self._settle()

    def accepted(self, connection: Connection) -> None:
        """A connection is there, a dialogue's first or, after a reset and another SYN, its second: with a stream of its
        own.
        """
        self.connection = connection
        self.written = 0
        self.told = False

    def _settle(self) -> list[bytes]:
        out: list[bytes] = []
        while True:
            while (packet := self.stack.poll_transmit(self.now)) is not None:
                out.append(complete(packet).to_bytes())
            endpoint = self.stack.poll_endpoint()
            if endpoint is not None:
                endpoint.poll_events()
                while (found := self.listener.accept()) is not None:
                    self.accepted(found)
            elif self.stack.next_timeout() <= self.now:
                self.stack.handle_timeout(self.now)
            else:
                break
        self.now += STEP
        return out

    def end(self, reset: bytes) -> None:
        """The dialogue is over."""
        self.send(reset)
        if self.connection is not None:
            self.connection.abort(self.now)
            self._settle()
        self.connection = None


class LinuxHost:
    """The kernel in a network namespace of its own, behind a TUN device; use it with `with namespace() as ns`."""

    def __init__(self, ns: Namespace) -> None:
        self.ns = ns
        for key, value in SYSCTLS.items():
            # Some are known to newer or older kernels only.
            with contextlib.suppress(FileNotFoundError):
                ns.sysctl(key, value)
        self.link = ns.open_tun(kernel_address="10.66.0.1/16", offload=False, join=False)
        self.fd = self.link.fileno()
        # RFC 9293 section 3.8.6.3 is about time: here each segment is acknowledged at once, on both sides.
        route = f"-n {ns.name} route replace 10.66.0.0/16 dev {self.link.name} src 10.66.0.1 quickack 1 rto_min 10s"
        subprocess.run(["ip", *route.split()], check=True, capture_output=True, timeout=LIMIT)
        self.listener = ns.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Urgent data stays where it is in the stream (RFC 6093 section 6).
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
        self.listener.bind(("10.66.0.1", PORT))
        self.listener.listen(1024)
        self.listener.setblocking(False)
        self.sock: socket.socket | None = None
        self.written = 0
        self.fences = 0
        self.leftovers = 0

    def begin(self) -> None:
        """A dialogue begins."""
        self.sock = None
        self.written = 0

    def send(self, packet: bytes) -> list[bytes]:
        """A packet arrives; what is answered."""
        os.write(self.fd, packet)
        return self._settle()

    def program(self, step: Step, seen: Seen) -> list[bytes]:
        """The program acts; what is sent."""
        sock = self.sock
        if sock is None:
            return []
        try:
            if step.kind == WRITE:
                seen.taken = sock.send(STREAM[self.written : self.written + step.length], socket.MSG_NOSIGNAL)
                self.written += seen.taken
            elif step.kind == READ:
                seen.data = sock.recv(step.length)
                seen.end = not seen.data
            elif step.kind == SHUTDOWN:
                sock.shutdown(socket.SHUT_WR)
            elif step.kind == CLOSE:
                sock.close()
                self.sock = None
        except BlockingIOError:
            pass
        except OSError as error:
            seen.error = error.errno or 0
        return self._settle()

    def _settle(self) -> list[bytes]:
        """Accept; then an echo request as a fence: when its answer is there, so is all that came before."""
        out = self._fence()
        try:
            sock, _ = self.listener.accept()
        except BlockingIOError:
            return out
        sock.setblocking(False)
        if self.sock is not None:
            self.sock.close()
        # Its stream begins anew.
        self.sock, self.written = sock, 0
        return out + self._fence()

    def _fence(self) -> list[bytes]:
        self.fences = self.fences % 0xFFFF_FFFF + 1
        mark = struct.pack("!I", self.fences)
        message = build_icmp(8, 0, 1, mark)
        os.write(self.fd, build_ipv4(ip_to_bytes("10.66.255.254"), HOST, PROTO_ICMP, len(message)) + message)
        out: list[bytes] = []
        deadline = time.monotonic() + LIMIT
        while True:
            try:
                packet = os.read(self.fd, 65536)
            except BlockingIOError:
                if not select.select([self.fd], [], [], max(0.0, deadline - time.monotonic()))[0]:
                    raise TimeoutError("the kernel does not answer an echo request") from None
                continue
            if packet[:1] and packet[0] >> 4 == 4 and packet[9] == PROTO_ICMP and packet[28:32] == mark:
                return out
            out.append(packet)

    def end(self, reset: bytes) -> None:
        """The dialogue is over."""
        self.send(reset)
        if self.sock is not None:
            with contextlib.suppress(OSError):
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.sock.close()
            self.sock = None
        self._fence()
