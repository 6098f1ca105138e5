"""ARP for IPv4 over Ethernet (RFC 826)."""

from __future__ import annotations

from typing import Final

from plankroad.wire.errors import BadPacket

ARP_REQUEST: Final = 1
ARP_REPLY: Final = 2

_FIXED: Final = b"\x00\x01\x08\x00\x06\x04"


class ArpPacket:
    """An ARP packet. `operation` is `ARP_REQUEST`, `ARP_REPLY` or one that is to be ignored."""

    __slots__ = ("operation", "sender_ip", "sender_mac", "target_ip", "target_mac")

    def __init__(
        self, operation: int, sender_mac: bytes, sender_ip: bytes, target_mac: bytes, target_ip: bytes
    ) -> None:
        self.operation = operation
        self.sender_mac = sender_mac
        self.sender_ip = sender_ip
        self.target_mac = target_mac
        self.target_ip = target_ip


def parse_arp(buf: bytes, start: int = 0) -> ArpPacket:
    """The ARP packet at `start`; what follows its 28 bytes is padding.

    Raises BadPacket where it is truncated or not about IPv4 on Ethernet (RFC 826: "?Do I have the hardware type in
    ar$hrd?", "?Do I speak the protocol in ar$pro?", with their address lengths).
    """
    if start < 0 or len(buf) - start < 28:
        raise BadPacket("ARP packet is truncated")
    if buf[start : start + 6] != _FIXED:
        raise BadPacket("ARP packet is not about IPv4 on Ethernet")
    return ArpPacket(
        buf[start + 6] << 8 | buf[start + 7],
        buf[start + 8 : start + 14],
        buf[start + 14 : start + 18],
        buf[start + 18 : start + 24],
        buf[start + 24 : start + 28],
    )


def build_arp(operation: int, sender_mac: bytes, sender_ip: bytes, target_mac: bytes, target_ip: bytes) -> bytes:
    """The 28 bytes of an ARP packet. Raises ValueError where an address has the wrong length."""
    if len(sender_mac) != 6 or len(target_mac) != 6 or len(sender_ip) != 4 or len(target_ip) != 4:
        raise ValueError("ARP addresses have 6 and 4 bytes")
    return _FIXED + operation.to_bytes(2, "big") + sender_mac + sender_ip + target_mac + target_ip
