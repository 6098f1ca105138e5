"""C structures of system calls: from a script's values to bytes, and what came against what was expected."""

from __future__ import annotations

import struct
from typing import Final

from plankroad.packetdrill.errors import BadScriptError
from plankroad.packetdrill.expressions import Anything, Record, Text, Value, differences
from plankroad.packetdrill.syntax import Location
from plankroad.testing.abi import (
    AF_INET,
    AF_INET6,
    AF_UNSPEC,
    IPPROTO_IP,
    IPPROTO_IPV6,
    IPPROTO_TCP,
    SO_LINGER,
    SO_RCVTIMEO,
    SO_SNDTIMEO,
    SOL_SOCKET,
    TCP_CM_INQ,
    TCP_CONGESTION,
)
from plankroad.testing.call import SockName

_LINGER: Final = ("onoff", "linger")
_TIMEVAL: Final = ("tv_sec", "tv_usec")

#: Control messages whose data is a structure: (level, type) -> what it is.
_SCM_TIMESTAMPING: Final = (SOL_SOCKET, 37)
_RECVERR: Final = ((IPPROTO_IP, 11), (IPPROTO_IPV6, 25))

_EXTENDED_ERROR: Final = struct.Struct("IBBBBII")


def sock_name(value: Record, where: Location) -> SockName:
    """A socket name, `{sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr("10.0.0.1")}`, and IPv6's."""
    named = {name.lstrip("."): part for name, part in value.named.items()}
    family = named.pop("sa_family", named.pop("sin_family", named.pop("sin6_family", None)))
    port = named.pop("sin_port", named.pop("sin6_port", 0))
    address = named.pop("sin_addr", named.pop("sin6_addr", None))
    named.pop("sin6_flowinfo", None)
    scope = named.pop("sin6_scope_id", 0)
    if named:
        raise BadScriptError(where, f'found "{next(iter(named))}" in a socket name, expected sin_port and sin_addr')
    if not isinstance(family, int) or not isinstance(port, int) or not isinstance(scope, int):
        raise BadScriptError(where, "found no sa_family or a port that is no number, expected a socket name")
    if family == AF_UNSPEC:
        return SockName(AF_UNSPEC, b"", 0)
    if isinstance(address, int):
        address = address.to_bytes(4, "big") if family == AF_INET else bytes(16)
    if not isinstance(address, bytes):
        raise BadScriptError(where, "found no address in a socket name, expected sin_addr=inet_addr(...)")
    if family not in (AF_INET, AF_INET6):
        raise BadScriptError(where, f"found the family {family}, expected AF_INET, AF_INET6 or AF_UNSPEC")
    return SockName(family, address, port, scope)


def _members(value: Record, names: tuple[str, ...], where: Location) -> list[int]:
    numbers: list[int] = []
    for name in names:
        number = value.named.get(name)
        if not isinstance(number, int):
            raise BadScriptError(where, f"found no number {name}, expected {{{', '.join(names)}}}")
        numbers.append(number)
    for name in value.named:
        if name not in names:
            raise BadScriptError(where, f'found "{name}", expected {{{", ".join(names)}}}')
    return numbers


def option_bytes(level: int, option: int, value: Value, where: Location) -> bytes:
    """The value of a socket option that a script sets."""
    if isinstance(value, Anything):
        return bytes(4)
    if isinstance(value, Text):
        return value.data
    if isinstance(value, bytes):
        return value
    if isinstance(value, list):
        if all(isinstance(item, int) for item in value):
            return b"".join(struct.pack("I", item & 0xFFFFFFFF) for item in value if isinstance(item, int))
        if len(value) == 1 and not isinstance(value[0], list):
            return option_bytes(level, option, value[0], where)
    if isinstance(value, Record):
        if (level, option) == (SOL_SOCKET, SO_LINGER):
            return struct.pack("ii", *_members(value, _LINGER, where))
        if level == SOL_SOCKET and option in (SO_RCVTIMEO, SO_SNDTIMEO):
            return struct.pack("qq", *_members(value, _TIMEVAL, where))
    raise BadScriptError(where, f"found {value!r} as the value of an option, expected a number in an array")


def option_differences(level: int, option: int, expected: Value, data: bytes, where: Location) -> list[str]:
    """What is wrong with the value of an option that a script gets."""
    if isinstance(expected, Anything):
        return []
    if isinstance(expected, Text):
        # A name ends with its first zero byte.
        shown = data.split(b"\0", 1)[0] if (level, option) == (IPPROTO_TCP, TCP_CONGESTION) else data
        return differences(expected, shown, "the option")
    if isinstance(expected, list):
        if all(isinstance(item, int | Anything) for item in expected):
            got: list[Value] = [number for (number,) in struct.iter_unpack("i", data[: len(data) & ~3])]
            # Written as a signed or as an unsigned number, it is the same one.
            wanted: list[Value] = [
                item if not isinstance(item, int) or item < 1 << 31 else item - (1 << 32) for item in expected
            ]
            return differences(wanted, got[: len(wanted)] if len(got) > len(wanted) else got, "the option")
        if len(expected) == 1:
            return option_differences(level, option, expected[0], data, where)
    if isinstance(expected, Record):
        names: tuple[str, ...] = ()
        code = ""
        if (level, option) == (SOL_SOCKET, SO_LINGER):
            names, code = _LINGER, "ii"
        elif level == SOL_SOCKET and option in (SO_RCVTIMEO, SO_SNDTIMEO):
            names, code = _TIMEVAL, "qq"
        if names:
            for name in expected.named:
                if name not in names:
                    raise BadScriptError(where, f'found "{name}", expected {{{", ".join(names)}}}')
            size = struct.calcsize(code)
            if len(data) < size:
                return [f"the option has {len(data)} bytes, expected {size}"]
            numbers = struct.unpack_from(code, data)
            return differences(expected, Record(dict(zip(names, numbers, strict=True))), "the option")
    raise BadScriptError(where, f"found {expected!r} as the value of an option, expected a number in an array")


def control_value(level: int, kind: int, data: bytes) -> Record:
    """A control message as a script writes it: `{cmsg_level=..., cmsg_type=..., cmsg_data=...}`."""
    value: Value = data
    if (level, kind) == (IPPROTO_TCP, TCP_CM_INQ) and len(data) == 4:
        value = struct.unpack("i", data)[0]
    elif (level, kind) == _SCM_TIMESTAMPING and len(data) >= 16:
        seconds, nanoseconds = struct.unpack_from("qq", data)
        value = Record({"scm_sec": seconds, "scm_nsec": nanoseconds})
    elif (level, kind) in _RECVERR and len(data) >= 16:
        number, origin, what, code, _, info, more = _EXTENDED_ERROR.unpack_from(data)
        value = Record(
            {
                "ee_errno": number,
                "ee_origin": origin,
                "ee_type": what,
                "ee_code": code,
                "ee_info": info,
                "ee_data": more,
            }
        )
    elif len(data) == 4:
        value = struct.unpack("i", data)[0]
    return Record({"cmsg_level": level, "cmsg_type": kind, "cmsg_data": value})
