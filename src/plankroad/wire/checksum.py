"""The Internet checksum (RFC 1071), its incremental update (RFC 1624) and partial checksums.

All sums are one's complement sums of 16-bit words. 2**16 is 1 modulo 65535, so the sum of the words of a byte
string is, up to the two spellings of zero, the string read as one big integer modulo 65535: one division in C instead
of a loop in Python. Zero bytes alone sum to 0; any other multiple of 65535 is 0xFFFF, as adding with end-around carry
gives.
"""

from __future__ import annotations

from typing import Final

from plankroad.wire.packet import Packet

# Adding the halves of a long number before the division costs less than dividing all of it. 2**16n is 1 modulo 65535,
# so a number may be cut at any multiple of 16 bits. These cuts are good for 1460 bytes and for 65535.
_CUT_FROM: Final = 700
_MASK_1536: Final[int] = (1 << 1536) - 1
_MASK_3072: Final[int] = (1 << 3072) - 1
_MASK_6144: Final[int] = (1 << 6144) - 1
_LONG_FROM: Final = 1536
_LONG_CUTS: Final[list[tuple[int, int]]] = [
    (bits, (1 << bits) - 1) for bits in (393216, 196608, 98304, 49152, 24576, 12288)
]


def big_sum(data: bytes) -> int:
    """A number that is the sum of the 16-bit words of `data` modulo 65535, and 0 only where all of them are 0.

    `data` of odd length is read as if a zero byte came before it, which is not what a checksum does: the caller takes
    256 times the result instead.
    """
    total = int.from_bytes(data, "big")
    length = len(data)
    if length > _CUT_FROM:
        if length > _LONG_FROM:
            for bits, mask in _LONG_CUTS:
                if length << 3 > bits:
                    total = (total >> bits) + (total & mask)
        total = (total >> 6144) + (total & _MASK_6144)
        total = (total >> 3072) + (total & _MASK_3072)
        total = (total >> 1536) + (total & _MASK_1536)
    return total


def ones_sum(data: bytes, initial: int = 0) -> int:
    """The folded 16-bit one's complement sum of `data`, not complemented (RFC 1071 section 1).

    Data of odd length is summed as if followed by a zero byte. `initial` is a sum to go on from, folded or not.
    """
    total = big_sum(data)
    rest = total % 65535
    if len(data) & 1:
        rest <<= 8
    folded = (rest + initial) % 65535
    if folded == 0 and (total != 0 or initial != 0):
        return 0xFFFF
    return folded


def checksum(data: bytes, initial: int = 0) -> int:
    """The Internet checksum: the complement of `ones_sum`."""
    return 0xFFFF - ones_sum(data, initial)


def address_sum(address: bytes) -> int:
    """The sum of an address's words, not folded: for going on with."""
    if len(address) == 4:
        return (address[0] << 8 | address[1]) + (address[2] << 8 | address[3])
    return int.from_bytes(address, "big") % 65535


def pseudo_sum(src: bytes, dst: bytes, protocol: int, length: int) -> int:
    """The folded sum of the pseudo-header: RFC 9293 section 3.1 for IPv4, RFC 8200 section 8.1 for IPv6.

    `src` and `dst` are 4 or 16 bytes; `length` counts the transport header and its data. Both forms have the same
    sum: they differ in zero bytes only. It is never 0, as the protocol never is.
    """
    rest = (address_sum(src) + address_sum(dst) + protocol + length) % 65535
    return 0xFFFF if rest == 0 else rest


def update(checksum: int, old: int, new: int) -> int:
    """The checksum after one 16-bit word of what it covers went from `old` to `new`.

    RFC 1624 section 3, equation 3: HC' = ~(~HC + ~m + m'). Unlike RFC 1141's form it never makes 0xFFFF of a
    header whose checksum is 0.
    """
    total = (0xFFFF - checksum) + (0xFFFF - old) + new
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - total


def update_bytes(checksum: int, old: bytes, new: bytes) -> int:
    """`update` for runs of bytes that begin at an even offset (an address, say).

    Raises ValueError where `old` and `new` are not of one, even length.
    """
    if len(old) != len(new) or len(old) & 1:
        raise ValueError("old and new must have one, even length")
    for i in range(0, len(old), 2):
        before = old[i] << 8 | old[i + 1]
        after = new[i] << 8 | new[i + 1]
        if before != after:
            checksum = update(checksum, before, after)
    return checksum


def finish(head: bytes, payload: bytes, csum_start: int, csum_offset: int) -> bytes:
    """`head` with its partial checksum finished over `head[csum_start:]` and `payload`.

    The field, at `csum_start + csum_offset`, holds the pseudo-header's sum, which thereby is in the sum.
    Raises ValueError where the field is not within `head`.
    """
    field = csum_start + csum_offset
    if csum_start < 0 or csum_offset < 0 or field + 2 > len(head):
        raise ValueError("checksum field outside of the headers")
    covered = len(head) - csum_start
    total = ones_sum(head[csum_start:])
    if payload:
        # After an odd number of bytes each byte of the payload is the other half of its word: times 256.
        rest = ones_sum(payload)
        total += rest << 8 if covered & 1 else rest
    value = 0xFFFF - ones_sum(b"", total)
    # RFC 768: a computed 0 is sent as all ones, 0 means none. 6 is where only UDP has its checksum.
    if value == 0 and csum_offset == 6:
        value = 0xFFFF
    return head[:field] + value.to_bytes(2, "big") + head[field + 2 :]


def complete(packet: Packet) -> Packet:
    """`packet` with its checksum finished; the same object where it is complete already.

    Raises ValueError where the checksum field is not within `packet.head`.
    """
    if packet.csum_start == 0 and packet.csum_offset == 0:
        return packet
    head = finish(packet.head, packet.payload, packet.csum_start, packet.csum_offset)
    return Packet(head, packet.payload, packet.interface, packet.gso_type, packet.gso_size)
