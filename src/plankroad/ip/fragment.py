"""Fragmentation: a packet cut into pieces that a link takes (RFC 791 section 3.2, RFC 8200 section 4.5)."""

from __future__ import annotations


class CannotFragment(ValueError):  # noqa: N818 - says what is the case, like BadPacket
    """The packet may not or cannot be cut to this size; the text says why."""


def fragment_ipv4(packet: bytes, mtu: int) -> list[bytes]:
    """The packet cut into fragments of `mtu` bytes at most; a list of itself where it fits."""
    raise CannotFragment(f"{len(packet)} {mtu}")


def fragment_ipv6(packet: bytes, mtu: int, ident: int) -> list[bytes]:
    """The packet cut into fragments of `mtu` bytes at most; a list of itself where it fits."""
    raise CannotFragment(f"{len(packet)} {mtu} {ident}")
