"""`Path`: how the packets of one connection leave, looked up once and again when something changed."""

from __future__ import annotations

from typing import Final

from plankroad.ip.interface import Interface
from plankroad.ip.routes import Route
from plankroad.tcp.connection import Connection
from plankroad.units import NEVER

#: TCP header with all the options there may be; what a super-segment must leave room for.
MAX_TCP_HEADER: Final = 60


class Path:
    """A connection's entry in the tables of the host, and its route.

    `key`: its place in `Host.connections`. `route` is None where there is none at the moment; `error` is then why.
    `next_hop`: the neighbour on an Ethernet link. `generation`: `Host.state_generation` when this was looked up;
    `check_at`: when it is to be looked up again anyway, because the path MTU expires.
    `mtu`: of the path. `spread`: each packet asks for its route (multipath per packet).
    `scope`: index of the interface the connection is bound to, -1 = none (link-local addresses).
    `dont_fragment`: off where the path is narrower than the host is willing to go.
    `wire_dst`, `ip_options`: destination field and IPv4 options, other than `dst` and empty with a source route only.
    `held`: bytes of memory it held when it was last served; `done`: octets that had got through when it last made
    progress, `progress_at`: when that was; `in_time_wait`, `orphan`: it is counted among those. All of `shed`.
    `advised`: the connection's trouble was told to IP once (RFC 9293 section 3.8.3, R1).
    """

    __slots__ = (
        "advised",
        "check_at",
        "connection",
        "done",
        "dont_fragment",
        "dst",
        "error",
        "flow",
        "generation",
        "held",
        "in_time_wait",
        "interface",
        "ip_options",
        "key",
        "mtu",
        "next_hop",
        "orphan",
        "progress_at",
        "route",
        "scope",
        "spread",
        "src",
        "wire_dst",
    )

    def __init__(
        self,
        connection: Connection,
        key: tuple[bytes, int, bytes, int],
        interface: Interface,
        flow: int,
    ) -> None:
        self.connection = connection
        self.key = key
        self.src: bytes = key[0]
        self.dst: bytes = key[2]
        self.wire_dst: bytes = key[2]
        self.ip_options: bytes = b""
        self.interface = interface
        self.route: Route | None = None
        self.next_hop: bytes = b""
        self.flow = flow
        self.mtu: int = 0
        self.error: int = 0
        self.generation: int = -1
        self.check_at: int = NEVER
        self.scope: int = -1
        self.spread: bool = False
        self.dont_fragment: bool = True
        self.advised: bool = False
        self.held: int = 0
        self.done: int = 0
        self.progress_at: int = 0
        self.in_time_wait: bool = False
        self.orphan: bool = False
