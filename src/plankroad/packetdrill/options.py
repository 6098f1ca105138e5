"""TCP options between a script and the wire: bytes from `TcpOption`s, and `TcpOption`s from bytes.

The bytes are exactly what the script says, in its order. Where they do not fill a multiple of four, End of Option List
bytes follow, as RFC 9293 section 3.1 has it. On the way back nothing is lost either: an option that the language has no
word for, or whose length is wrong, becomes a `raw` one.
"""

from __future__ import annotations

import struct
from typing import Final

from plankroad.packetdrill.syntax import (
    OPT_ACC_ECN,
    OPT_EOL,
    OPT_FAST_OPEN,
    OPT_FAST_OPEN_EXP,
    OPT_MD5,
    OPT_MSS,
    OPT_NOP,
    OPT_RAW,
    OPT_SACK,
    OPT_SACK_OK,
    OPT_TIMESTAMP,
    OPT_WSCALE,
    TcpOption,
)

_KIND: Final = {
    OPT_MSS: 2,
    OPT_WSCALE: 3,
    OPT_SACK_OK: 4,
    OPT_SACK: 5,
    OPT_TIMESTAMP: 8,
    OPT_MD5: 19,
    OPT_FAST_OPEN: 34,
}
_KIND_EXPERIMENT: Final = 254  # RFC 6994, with Fast Open's identifier after it
_FAST_OPEN_ID: Final = b"\xf9\x89"
_KIND_ACC_ECN0: Final = 172  # RFC 9768 section 3.2.3: EE0B first
_KIND_ACC_ECN1: Final = 174  # EE1B first
_ACC_ECN_ORDER: Final = {_KIND_ACC_ECN0: ("e0b", "ceb", "e1b"), _KIND_ACC_ECN1: ("e1b", "ceb", "e0b")}
_U32: Final = 0xFFFFFFFF


def option_bytes(option: TcpOption) -> bytes:
    """One option as on the wire. Its SACK blocks and timestamps must be those of the wire already."""
    name = option.name
    if name == OPT_EOL:
        return b"\0"
    if name == OPT_NOP:
        return b"\1"
    if name == OPT_RAW:
        return option.data
    if name == OPT_ACC_ECN:
        kind = _KIND_ACC_ECN1 if option.names[:1] == ("e1b",) else _KIND_ACC_ECN0
        body = b"".join((value & 0xFFFFFF).to_bytes(3, "big") for value in option.values)
    elif name == OPT_FAST_OPEN_EXP:
        kind = _KIND_EXPERIMENT
        body = _FAST_OPEN_ID + option.data
    else:
        kind = _KIND[name]
        if name == OPT_MSS:
            body = struct.pack("!H", option.values[0])
        elif name == OPT_WSCALE:
            body = bytes([option.values[0]])
        elif name in {OPT_SACK, OPT_TIMESTAMP}:
            body = b"".join((value & _U32).to_bytes(4, "big") for value in option.values)
        else:
            body = option.data
    return bytes([kind, (2 + len(body)) & 0xFF]) + body


def options_bytes(options: list[TcpOption]) -> bytes:
    """All of them, with End of Option List after them up to a multiple of four."""
    data = b"".join([option_bytes(option) for option in options])
    return data + bytes(-len(data) & 3)


def options_length(options: list[TcpOption]) -> int:
    """Bytes of all of them, padding included."""
    return len(options_bytes(options))


def parse_options(data: bytes) -> list[TcpOption]:
    """The options in `data`, in order; nothing but `data` comes of `options_bytes` of them."""
    options: list[TcpOption] = []
    at = 0
    while at < len(data):
        kind = data[at]
        if kind <= 1:
            options.append(TcpOption(OPT_NOP if kind else OPT_EOL))
            at += 1
            continue
        length = data[at + 1] if at + 1 < len(data) else 0
        if length < 2 or at + length > len(data):
            # What follows cannot be told apart.
            options.append(TcpOption(OPT_RAW, data=data[at:]))
            break
        options.append(_one(kind, data[at : at + length]))
        at += length
    return options


def _one(kind: int, data: bytes) -> TcpOption:
    """The option that is `data`, kind and length included."""
    body = data[2:]
    size = len(body)
    if kind == 2 and size == 2:
        return TcpOption(OPT_MSS, (body[0] << 8 | body[1],))
    if kind == 3 and size == 1:
        return TcpOption(OPT_WSCALE, (body[0],))
    if kind == 4 and size == 0:
        return TcpOption(OPT_SACK_OK)
    if kind == 5 and size and size % 8 == 0:
        return TcpOption(OPT_SACK, struct.unpack(f"!{size // 4}I", body))
    if kind == 8 and size == 8:
        return TcpOption(OPT_TIMESTAMP, struct.unpack("!II", body))
    if kind == 19:
        return TcpOption(OPT_MD5, data=body)
    if kind == 34:
        return TcpOption(OPT_FAST_OPEN, data=body)
    if kind == _KIND_EXPERIMENT and body[:2] == _FAST_OPEN_ID:
        return TcpOption(OPT_FAST_OPEN_EXP, data=body[2:])
    if kind in _ACC_ECN_ORDER and size in {0, 3, 6, 9} and (size or kind == _KIND_ACC_ECN0):
        names = _ACC_ECN_ORDER[kind][: size // 3]
        values = tuple(int.from_bytes(body[i : i + 3], "big") for i in range(0, size, 3))
        return TcpOption(OPT_ACC_ECN, values, names=names)
    return TcpOption(OPT_RAW, data=data)


def option_text(option: TcpOption) -> str:
    """As a script writes it."""
    name, values = option.name, option.values
    if name in {OPT_MSS, OPT_WSCALE}:
        return f"{name} {values[0]}"
    if name == OPT_SACK:
        return name + "".join(f" {values[i]}:{values[i + 1]}" for i in range(0, len(values), 2))
    if name == OPT_TIMESTAMP:
        return f"TS val {values[0]} ecr {values[1]}"
    if name == OPT_ACC_ECN:
        return name + "".join(f" {field} {value}" for field, value in zip(option.names, values, strict=True))
    return f"{name} {option.data.hex()}" if option.data else name


def options_text(options: list[TcpOption]) -> str:
    return ",".join([option_text(option) for option in options])
