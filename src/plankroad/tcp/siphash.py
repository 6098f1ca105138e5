"""SipHash-2-4 (J.-P. Aumasson, D. J. Bernstein, "SipHash: a fast short-input PRF", 2012), as Linux makes its Fast Open
cookies: servers of both kinds behind one address know each other's (RFC 7413 section 6.3.4).
"""

from __future__ import annotations

from typing import Final

_MASK: Final = 0xFFFFFFFFFFFFFFFF


def siphash(key: bytes, data: bytes) -> bytes:
    """The 8 octets, least significant first, of `data` under a key of 16. ValueError for another key."""
    if len(key) != 16:
        raise ValueError(f"a key of SipHash has 16 bytes, not {len(key)}")
    k0 = int.from_bytes(key[:8], "little")
    k1 = int.from_bytes(key[8:], "little")
    state = [
        k0 ^ 0x736F6D6570736575,
        k1 ^ 0x646F72616E646F6D,
        k0 ^ 0x6C7967656E657261,
        k1 ^ 0x7465646279746573,
    ]
    whole = len(data) & ~7
    for i in range(0, whole, 8):
        _take(state, int.from_bytes(data[i : i + 8], "little"))
    _take(state, int.from_bytes(data[whole:], "little") | (len(data) & 0xFF) << 56)
    state[2] ^= 0xFF
    for _ in range(4):
        _round(state)
    return (state[0] ^ state[1] ^ state[2] ^ state[3]).to_bytes(8, "little")


def _take(state: list[int], word: int) -> None:
    state[3] ^= word
    _round(state)
    _round(state)
    state[0] ^= word


def _rotate(value: int, bits: int) -> int:
    return (value << bits | value >> (64 - bits)) & _MASK


def _round(state: list[int]) -> None:
    v0 = state[0]
    v1 = state[1]
    v2 = state[2]
    v3 = state[3]
    v0 = (v0 + v1) & _MASK
    v1 = _rotate(v1, 13) ^ v0
    v0 = _rotate(v0, 32)
    v2 = (v2 + v3) & _MASK
    v3 = _rotate(v3, 16) ^ v2
    v0 = (v0 + v3) & _MASK
    v3 = _rotate(v3, 21) ^ v0
    v2 = (v2 + v1) & _MASK
    v1 = _rotate(v1, 17) ^ v2
    v2 = _rotate(v2, 32)
    state[0] = v0
    state[1] = v1
    state[2] = v2
    state[3] = v3
