"""The neighbours of an Ethernet interface: ARP for IPv4, neighbour discovery for IPv6."""

from __future__ import annotations

from random import Random

from plankroad.ip.interface import Interface
from plankroad.ip.routes import RouteTable
from plankroad.units import NEVER
from plankroad.wire.packet import Packet


class NeighbourCache:
    """Skeleton."""

    __slots__ = ("interface", "rng", "routes")

    def __init__(self, interface: Interface, routes: RouteTable, rng: Random) -> None:
        self.interface = interface
        self.routes = routes
        self.rng = rng

    def resolve(self, now: int, ip: bytes) -> bytes:
        """The MAC address of a next hop (6 bytes; multicast and broadcast are mapped), b"" where it is not known yet:
        then `queue` the packet."""
        return b""

    def queue(self, now: int, ip: bytes, packet: Packet) -> None:
        """Keep an IP packet until its next hop `ip` is resolved."""

    def handle_arp(self, now: int, frame: bytes, start: int) -> None:
        """An ARP packet came in: `frame[start:]`, after the Ethernet header."""

    def handle_ndp(
        self, now: int, packet: bytes, start: int, end: int, src: bytes, dst: bytes, hop_limit: int
    ) -> bool:
        """An ICMPv6 message of type 133 to 137 came in: `packet[start:end]` is the ICMPv6 message, checksum verified.
        False: not valid."""
        return False

    def confirm(self, now: int, ip: bytes) -> None:
        """An upper layer knows that packets reach `ip` (RFC 4861 section 7.3.1)."""

    def poll_transmit(self, now: int) -> Packet | None:
        """The next Ethernet frame to send, with `interface` set; None when there is no more."""
        return None

    def failures(self) -> list[Packet]:
        """IP packets (no frames) whose neighbour did not answer."""
        return []

    def next_timeout(self) -> int:
        """When `handle_timeout` is due."""
        return NEVER

    def handle_timeout(self, now: int) -> None:
        """Do what is due."""
