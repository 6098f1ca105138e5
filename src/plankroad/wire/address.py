"""IP addresses as bytes of 4 or 16: to and from text, and what kind they are.

Sources: RFC 1122 section 3.2.1.3, RFC 4291, RFC 5952, RFC 6890.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Final

IPV4_ANY: Final = bytes(4)
IPV6_ANY: Final = bytes(16)
IPV4_BROADCAST: Final = b"\xff\xff\xff\xff"
IPV6_ALL_NODES: Final = b"\xff\x02" + bytes(13) + b"\x01"
IPV6_ALL_ROUTERS: Final = b"\xff\x02" + bytes(13) + b"\x02"
IPV6_LOOPBACK: Final = bytes(15) + b"\x01"
IPV4_MAPPED_PREFIX: Final = bytes(10) + b"\xff\xff"
MAC_BROADCAST: Final = b"\xff\xff\xff\xff\xff\xff"


def ip_to_bytes(address: str | IPv4Address | IPv6Address) -> bytes:
    """4 or 16 bytes. A zone (`fe80::1%eth0`) is left out. Raises ValueError for text that is no address."""
    if isinstance(address, str):
        if ":" in address:
            return IPv6Address(address).packed
        return IPv4Address(address).packed
    return address.packed


def bytes_to_ip(address: bytes) -> str:
    """The usual text: dotted, or RFC 5952 (IPv4-mapped addresses with a dotted tail, its section 5).

    Raises ValueError unless there are 4 or 16 bytes.
    """
    if len(address) == 4:
        return f"{address[0]}.{address[1]}.{address[2]}.{address[3]}"
    if len(address) != 16:
        raise ValueError("an IP address has 4 or 16 bytes")
    if address[:12] == IPV4_MAPPED_PREFIX:
        return f"::ffff:{address[12]}.{address[13]}.{address[14]}.{address[15]}"
    return str(IPv6Address(address))


def parse_prefix(text: str) -> tuple[bytes, int]:
    """`10.0.0.1/24` as address and prefix length; host bits are kept. Without a length: that of one address.

    Raises ValueError for text that is no address with a prefix length.
    """
    address, slash, length = text.partition("/")
    ip = ip_to_bytes(address)
    if not slash:
        return ip, len(ip) * 8
    if not (length.isascii() and length.isdigit()) or int(length) > len(ip) * 8:
        raise ValueError(f"no prefix length: {text!r}")
    return ip, int(length)


def mac_to_bytes(text: str) -> bytes:
    """`02:00:00:00:00:01` (or with `-`) as 6 bytes. Raises ValueError for anything else."""
    parts = text.replace("-", ":").split(":")
    if len(parts) != 6:
        raise ValueError(f"no MAC address: {text!r}")
    for part in parts:
        if len(part) not in {1, 2} or not all(c in "0123456789abcdefABCDEF" for c in part):
            raise ValueError(f"no MAC address: {text!r}")
    return bytes([int(part, 16) for part in parts])


def bytes_to_mac(mac: bytes) -> str:
    """`02:00:00:00:00:01`."""
    return mac.hex(":")


def network_of(address: bytes, prefix_len: int) -> bytes:
    """The address with all bits after the prefix cleared."""
    bits = len(address) * 8 - prefix_len
    return (int.from_bytes(address, "big") >> bits << bits).to_bytes(len(address), "big")


def in_prefix(address: bytes, prefix: bytes, prefix_len: int) -> bool:
    """Whether the first `prefix_len` bits are those of `prefix`; never for two different families."""
    if len(address) != len(prefix):
        return False
    bits = len(address) * 8 - prefix_len
    return int.from_bytes(address, "big") >> bits == int.from_bytes(prefix, "big") >> bits


def is_unspecified(address: bytes) -> bool:
    """0.0.0.0 or ::."""
    return address in (IPV4_ANY, IPV6_ANY)


def is_loopback(address: bytes) -> bool:
    """127.0.0.0/8 (RFC 1122 section 3.2.1.3 (g)) or ::1."""
    if len(address) == 4:
        return address[0] == 127
    return address == IPV6_LOOPBACK


def is_multicast(address: bytes) -> bool:
    """224.0.0.0/4 or ff00::/8."""
    if len(address) == 4:
        return address[0] >> 4 == 14
    return len(address) == 16 and address[0] == 0xFF


def is_broadcast(address: bytes) -> bool:
    """The limited broadcast address 255.255.255.255; for a subnet's see `is_directed_broadcast`."""
    return address == IPV4_BROADCAST


def is_directed_broadcast(address: bytes, network: bytes, prefix_len: int) -> bool:
    """All ones, or all zeros (RFC 1122 section 3.3.6), in the host part of an IPv4 network.

    Networks of 31 and 32 bits have no broadcast address (RFC 3021 section 2.1).
    """
    if len(address) != 4 or len(network) != 4 or prefix_len >= 31 or not in_prefix(address, network, prefix_len):
        return False
    mask = (1 << (32 - prefix_len)) - 1
    host = int.from_bytes(address, "big") & mask
    return host in (0, mask)


def is_link_local(address: bytes) -> bool:
    """169.254.0.0/16 (RFC 3927) or fe80::/10."""
    if len(address) == 4:
        return address[0] == 169 and address[1] == 254
    return len(address) == 16 and address[0] == 0xFE and address[1] & 0xC0 == 0x80


def is_link_local_multicast(address: bytes) -> bool:
    """224.0.0.0/24 or ff02::/16 and ff01::/16: never forwarded."""
    if len(address) == 4:
        return address[0] == 224 and address[1] == 0 and address[2] == 0
    return len(address) == 16 and address[0] == 0xFF and address[1] & 0x0F in {1, 2}


def is_class_e(address: bytes) -> bool:
    """240.0.0.0/4 without 255.255.255.255: reserved, no valid source or destination (RFC 1112 section 4)."""
    return len(address) == 4 and address[0] >> 4 == 15 and address != IPV4_BROADCAST


def is_ipv4_mapped(address: bytes) -> bool:
    """::ffff:0:0/96 (RFC 4291 section 2.5.5.2)."""
    return len(address) == 16 and address[:12] == IPV4_MAPPED_PREFIX


def solicited_node(address: bytes) -> bytes:
    """The solicited-node multicast address of an IPv6 address (RFC 4291 section 2.7.1)."""
    return b"\xff\x02" + bytes(9) + b"\x01\xff" + address[13:16]


def multicast_mac(address: bytes) -> bytes:
    """The Ethernet address of a multicast group: RFC 1112 section 6.4 or RFC 2464 section 7."""
    if len(address) == 4:
        return bytes([0x01, 0x00, 0x5E, address[1] & 0x7F, address[2], address[3]])
    return b"\x33\x33" + address[12:16]


def link_local_of(mac: bytes) -> bytes:
    """fe80::/64 with the modified EUI-64 of a MAC address (RFC 4291 appendix A)."""
    return b"\xfe\x80" + bytes(6) + bytes([mac[0] ^ 2, mac[1], mac[2], 0xFF, 0xFE, mac[3], mac[4], mac[5]])
