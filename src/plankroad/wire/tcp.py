"""The TCP header and its options (RFC 9293 section 3.1), to and from `Segment`."""

from __future__ import annotations

import struct
from typing import Final

from plankroad.wire.checksum import address_sum, big_sum
from plankroad.wire.constants import PROTO_TCP
from plankroad.wire.errors import BadPacket
from plankroad.wire.segment import ACK, SYN, Segment

# Option kinds (the IANA registry "TCP Option Kind Numbers").
OPT_EOL: Final = 0
OPT_NOP: Final = 1
OPT_MSS: Final = 2
OPT_WSCALE: Final = 3
OPT_SACK_PERMITTED: Final = 4
OPT_SACK: Final = 5
OPT_TIMESTAMPS: Final = 8
OPT_MD5: Final = 19
OPT_USER_TIMEOUT: Final = 28
OPT_AO: Final = 29
OPT_FAST_OPEN: Final = 34
OPT_EXPERIMENT: Final = 254
#: What the experimental form of Fast Open has before its cookie (RFC 6994; the registry "TCP Experimental Option
#: Experiment Identifiers").
FAST_OPEN_MAGIC: Final = 0xF989
OPT_ACCECN0: Final = 172
OPT_ACCECN1: Final = 174

#: Bytes of options that a header can hold.
MAX_OPTIONS: Final = 40

_pack: Final = struct.Struct("!HHIIHHHH").pack
_pack_words: Final = struct.Struct("!III").pack
_pack_word: Final = struct.Struct("!I").pack
_pack_block: Final = struct.Struct("!II").pack
_pack_ts: Final = struct.Struct("!HHIIHHHHIII").pack


def parse_tcp(buf: bytes, start: int, end: int) -> Segment:
    """The segment in `buf[start:end]`. The checksum is not looked at: see `tcp_checksum_ok`.

    Options are reported as they stand, whatever the flags; MSS, window scale and SACK-permitted mean something
    in a SYN only. A known option with a length that is not its own is skipped like an unknown one.
    Raises BadPacket where the header is truncated or its length field contradicts the segment's.
    """
    if start < 0 or end > len(buf) or end - start < 20:
        raise BadPacket("TCP header is truncated")
    header_length = buf[start + 12] >> 4 << 2
    payload_start = start + header_length
    if header_length < 20:
        raise BadPacket("TCP data offset is less than 5")
    if payload_start > end:
        raise BadPacket("TCP header is longer than the segment")
    seg = Segment(
        buf[start] << 8 | buf[start + 1],
        buf[start + 2] << 8 | buf[start + 3],
        buf[start + 4] << 24 | buf[start + 5] << 16 | buf[start + 6] << 8 | buf[start + 7],
        buf[start + 8] << 24 | buf[start + 9] << 16 | buf[start + 10] << 8 | buf[start + 11],
        (buf[start + 12] & 1) << 8 | buf[start + 13],
        buf[start + 14] << 8 | buf[start + 15],
        buf[payload_start:end],
    )
    urgent = buf[start + 18] << 8 | buf[start + 19]
    if urgent:
        seg.urgent = urgent
    if header_length == 20:
        return seg
    i = start + 20
    # RFC 7323 appendix A: the usual layout is NOP NOP Timestamps, then perhaps NOP NOP SACK.
    if header_length >= 32 and buf[i] == 1 and buf[i + 1] == 1 and buf[i + 2] == 8 and buf[i + 3] == 10:
        seg.has_ts = True
        seg.ts_val = buf[i + 4] << 24 | buf[i + 5] << 16 | buf[i + 6] << 8 | buf[i + 7]
        seg.ts_ecr = buf[i + 8] << 24 | buf[i + 9] << 16 | buf[i + 10] << 8 | buf[i + 11]
        if header_length == 32:
            return seg
        i += 12
    _parse_options(buf, i, payload_start, seg)
    return seg


def _parse_options(buf: bytes, i: int, end: int, seg: Segment) -> None:
    """Read the options in `buf[i:end]` into `seg`. Each turn moves on by at least one byte."""
    while i < end:
        kind = buf[i]
        if kind == OPT_NOP:
            i += 1
            continue
        if kind == OPT_EOL:
            return
        # RFC 9293 MUST-7: "TCP implementations MUST be prepared to handle an illegal option length (e.g., zero)".
        # What follows cannot be told apart, so reading ends here.
        if i + 1 >= end:
            seg.bad_options = True
            return
        length = buf[i + 1]
        after = i + length
        if length < 2 or after > end:
            seg.bad_options = True
            return
        if kind == OPT_SACK:
            # RFC 2018 section 3: 8n + 2 bytes for n blocks of left edge and right edge.
            if length > 2 and length & 7 == 2:
                sack: list[tuple[int, int]] = []
                j = i + 2
                while j < after:
                    sack.append(
                        (
                            buf[j] << 24 | buf[j + 1] << 16 | buf[j + 2] << 8 | buf[j + 3],
                            buf[j + 4] << 24 | buf[j + 5] << 16 | buf[j + 6] << 8 | buf[j + 7],
                        )
                    )
                    j += 8
                seg.sack = sack
        elif kind == OPT_TIMESTAMPS:
            if length == 10:
                seg.has_ts = True
                seg.ts_val = buf[i + 2] << 24 | buf[i + 3] << 16 | buf[i + 4] << 8 | buf[i + 5]
                seg.ts_ecr = buf[i + 6] << 24 | buf[i + 7] << 16 | buf[i + 8] << 8 | buf[i + 9]
        elif kind == OPT_MSS:
            if length == 4:
                seg.mss = buf[i + 2] << 8 | buf[i + 3]
        elif kind == OPT_WSCALE:
            if length == 3:
                seg.wscale = buf[i + 2]
        elif kind == OPT_SACK_PERMITTED:
            if length == 2:
                seg.sack_permitted = True
        elif kind == OPT_USER_TIMEOUT:
            # RFC 5482 section 3.1: granularity bit and 15 bits of value.
            if length == 4:
                seg.user_timeout = buf[i + 2] << 8 | buf[i + 3]
        elif kind == OPT_FAST_OPEN:
            # RFC 7413 section 4.1.1: an even cookie of 4 to 16 bytes, or none; "Options with invalid Length values
            # or without the SYN flag set MUST be ignored."
            if seg.flags & SYN and (length == 2 or (6 <= length <= 18 and length & 1 == 0)):
                seg.fast_open = buf[i + 2 : after]
                seg.fast_open_exp = False
        elif kind == OPT_EXPERIMENT:
            # What RFC 7413's implementations sent before kind 34 was theirs (section 10): the same behind a magic
            # number. Where both forms are there the registered one counts.
            if (
                seg.flags & SYN
                and seg.fast_open is None
                and (length == 4 or (8 <= length <= 20 and length & 1 == 0))
                and buf[i + 2] << 8 | buf[i + 3] == FAST_OPEN_MAGIC
            ):
                seg.fast_open = buf[i + 4 : after]
                seg.fast_open_exp = True
        elif kind == OPT_MD5:
            if length == 18:
                seg.md5 = True
        elif kind == OPT_AO:
            if length >= 4:
                seg.ao = True
        elif kind in (OPT_ACCECN0, OPT_ACCECN1) and not (seg.flags & SYN and not seg.flags & ACK):
            # RFC 9768 section 3.2.3.2.1: "If there is somehow an AccECN Option on a SYN, it MUST be ignored".
            seg.accecn = _parse_accecn(buf, i + 2, length - 2, kind == OPT_ACCECN1)
        i = after


def _parse_accecn(buf: bytes, i: int, length: int, reverse: bool) -> tuple[int, int, int]:
    """EE0B, ECEB, EE1B, -1 for what is left out, of the `length` bytes at `i`; `reverse`: EE1B is first.

    RFC 9768 section 3.2.3: "if the AccECN Option is of any other length, implementations MUST use those whole 3-octet
    fields that fit within the length and ignore the remainder of the option, treating it as padding."
    """
    first = buf[i] << 16 | buf[i + 1] << 8 | buf[i + 2] if length >= 3 else -1
    second = buf[i + 3] << 16 | buf[i + 4] << 8 | buf[i + 5] if length >= 6 else -1
    third = buf[i + 6] << 16 | buf[i + 7] << 8 | buf[i + 8] if length >= 9 else -1
    return (third, second, first) if reverse else (first, second, third)


def tcp_checksum_ok(buf: bytes, start: int, end: int, src: bytes, dst: bytes) -> bool:
    """Whether the checksum of the segment in `buf[start:end]` is right (RFC 9293 section 3.1, MUST-3)."""
    length = end - start
    rest = big_sum(buf[start:end]) % 65535
    if length & 1:
        rest <<= 8
    return (rest + address_sum(src) + address_sum(dst) + PROTO_TCP + length) % 65535 == 0


def _build_options(seg: Segment) -> bytes:
    """The options of `seg`, each aligned to 32 bits by NOPs before it; a cookie is filled up with them."""
    out = b""
    if seg.mss:
        out = bytes([OPT_MSS, 4, seg.mss >> 8 & 0xFF, seg.mss & 0xFF])
    if seg.has_ts:
        # RFC 7323 appendix A: two NOPs align the timestamps; SACK-permitted fits in their place.
        lead = 0x0402080A if seg.sack_permitted else 0x0101080A
        out += _pack_words(lead, seg.ts_val & 0xFFFFFFFF, seg.ts_ecr & 0xFFFFFFFF)
    elif seg.sack_permitted:
        out += b"\x01\x01\x04\x02"
    if seg.wscale >= 0:
        out += bytes([OPT_NOP, OPT_WSCALE, 3, seg.wscale])
    if seg.user_timeout >= 0:
        out += bytes([OPT_USER_TIMEOUT, 4, seg.user_timeout >> 8 & 0xFF, seg.user_timeout & 0xFF])
    cookie = seg.fast_open
    if cookie is not None:
        if seg.fast_open_exp:
            head = bytes([OPT_EXPERIMENT, 4 + len(cookie), FAST_OPEN_MAGIC >> 8, FAST_OPEN_MAGIC & 0xFF])
        else:
            head = bytes([OPT_FAST_OPEN, 2 + len(cookie)])
        out += head + cookie
        pad = -len(out) & 3
        if pad:
            out += b"\x01" * pad
    accecn = seg.accecn
    if accecn is not None:
        fields = _accecn_fields(accecn)
        # Aligned at its end: it has 2, 5, 8 or 11 bytes.
        out += b"\x01" * (-(len(fields) + 2) & 3)
        out += bytes([OPT_ACCECN1 if _reversed(accecn) else OPT_ACCECN0, 2 + len(fields)]) + fields
    if seg.sack:
        # RFC 2018 section 3: as many blocks as there is room for, the most important first.
        room = (MAX_OPTIONS - len(out) - 4) >> 3
        if room > 0:
            blocks = seg.sack if len(seg.sack) <= room else seg.sack[:room]
            out += _pack_word(0x01010502 + (len(blocks) << 3))
            for left, right in blocks:
                out += _pack_block(left & 0xFFFFFFFF, right & 0xFFFFFFFF)
    if len(out) > MAX_OPTIONS:
        raise ValueError("TCP options are longer than 40 bytes")
    return out


def _reversed(accecn: tuple[int, int, int]) -> bool:
    """Is it order 1 (RFC 9768 table 5)? That is the one which can leave EE0B out."""
    return accecn[0] < 0 <= accecn[2]


def _accecn_fields(accecn: tuple[int, int, int]) -> bytes:
    """The counters of an AccECN option as they go on the wire, up to the first that is left out."""
    first, second, third = accecn
    if _reversed(accecn):
        first, third = third, first
    out = b""
    if first >= 0:
        out = (first & 0xFFFFFF).to_bytes(3, "big")
        if second >= 0:
            out += (second & 0xFFFFFF).to_bytes(3, "big")
            if third >= 0:
                out += (third & 0xFFFFFF).to_bytes(3, "big")
    return out


def accecn_length(accecn: tuple[int, int, int]) -> int:
    """Bytes that an AccECN option takes in the header, NOPs and all: 4, 8 or 12."""
    return (len(_accecn_fields(accecn)) + 5) & ~3


def options_length(seg: Segment) -> int:
    """Bytes of options that `build_tcp` makes of `seg`, padding included: 0 to 40, a multiple of 4.

    What an MSS must give up for options (RFC 6691 section 2; MUST-16 of RFC 9293).
    """
    length = 0
    if seg.mss:
        length += 4
    if seg.has_ts:
        length += 12
    elif seg.sack_permitted:
        length += 4
    if seg.wscale >= 0:
        length += 4
    if seg.user_timeout >= 0:
        length += 4
    if seg.fast_open is not None:
        length += (len(seg.fast_open) + (7 if seg.fast_open_exp else 5)) & ~3
    if seg.accecn is not None:
        length += accecn_length(seg.accecn)
    if seg.sack:
        count = min(len(seg.sack), (MAX_OPTIONS - length - 4) >> 3)
        if count > 0:
            length += 4 + (count << 3)
    return length


def build_tcp(seg: Segment, src: bytes, dst: bytes, partial: bool = False) -> bytes:
    """The header of `seg` with its options; its checksum is over header and payload. The payload is not in it.

    `partial`: the checksum field holds the folded pseudo-header sum instead, for a link that finishes it.
    SACK blocks for which there is no room are left out, from the last. MD5 and AO are never made.
    Raises ValueError where the other options are longer than 40 bytes.
    """
    payload = seg.payload
    only_ts = (
        not seg.sack
        and seg.mss == 0
        and not seg.sack_permitted
        and seg.wscale < 0
        and seg.user_timeout < 0
        and seg.fast_open is None
        and seg.accecn is None
    )
    options = b""
    header_length = 20
    if not only_ts:
        options = _build_options(seg)
        header_length = 20 + len(options)
    elif seg.has_ts:
        header_length = 32
    length = header_length + len(payload)
    seq = seg.seq & 0xFFFFFFFF
    ack = seg.ack & 0xFFFFFFFF
    offset_flags = header_length << 10 | seg.flags
    value = address_sum(src) + address_sum(dst) + PROTO_TCP + length
    if partial:
        value %= 65535
        if value == 0:
            value = 0xFFFF
    else:
        value += seg.src_port + seg.dst_port + seq + ack + offset_flags + seg.wnd + seg.urgent
        if options:
            value += int.from_bytes(options, "big")
        elif header_length == 32:
            value += 0x0101080A + (seg.ts_val & 0xFFFFFFFF) + (seg.ts_ecr & 0xFFFFFFFF)
        if payload:
            rest = big_sum(payload) % 65535
            value += rest << 8 if len(payload) & 1 else rest
        # The sum is never 0, so its complement is that of its remainder: 0 where that is 0.
        value = -value % 65535
    if only_ts and header_length == 32:
        return _pack_ts(
            seg.src_port,
            seg.dst_port,
            seq,
            ack,
            offset_flags,
            seg.wnd,
            value,
            seg.urgent,
            0x0101080A,
            seg.ts_val & 0xFFFFFFFF,
            seg.ts_ecr & 0xFFFFFFFF,
        )
    head = _pack(seg.src_port, seg.dst_port, seq, ack, offset_flags, seg.wnd, value, seg.urgent)
    return head + options if options else head
