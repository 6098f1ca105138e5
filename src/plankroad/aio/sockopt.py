"""Socket options and the fields of `TcpConfig` that they stand for, for every view of a socket."""

from __future__ import annotations

import errno
import os
import socket
import struct
from typing import TYPE_CHECKING, Any, Final

from plankroad.tcp.config import NAGLE_MINSHALL, NAGLE_OFF
from plankroad.units import MILLISECOND, SECOND

if TYPE_CHECKING:
    from plankroad.tcp.config import TcpConfig

# Kinds of values: how a config field becomes an int of the socket API, and back.
_PLAIN: Final = 0
_FLAG: Final = 1
_SECONDS: Final = 2
_MILLISECONDS: Final = 3


def constant(name: str, value: int) -> int:
    """A constant of the socket module, or Linux's value where the platform does not name it."""
    return int(getattr(socket, name, value))


IPPROTO_TCP: Final = constant("IPPROTO_TCP", 6)
IPPROTO_IP: Final = constant("IPPROTO_IP", 0)
IPPROTO_IPV6: Final = constant("IPPROTO_IPV6", 41)
SOL_SOCKET: Final = constant("SOL_SOCKET", 1)
SO_REUSEADDR: Final = constant("SO_REUSEADDR", 2)
SO_REUSEPORT: Final = constant("SO_REUSEPORT", 15)
SO_TYPE: Final = constant("SO_TYPE", 3)
SO_ERROR: Final = constant("SO_ERROR", 4)
SO_LINGER: Final = constant("SO_LINGER", 13)
SO_ACCEPTCONN: Final = constant("SO_ACCEPTCONN", 30)
SO_PROTOCOL: Final = constant("SO_PROTOCOL", 38)
SO_DOMAIN: Final = constant("SO_DOMAIN", 39)
TCP_NODELAY: Final = constant("TCP_NODELAY", 1)
TCP_INFO: Final = constant("TCP_INFO", 11)
TCP_QUICKACK: Final = constant("TCP_QUICKACK", 12)
TCP_CONGESTION: Final = constant("TCP_CONGESTION", 13)
TCP_FASTOPEN: Final = constant("TCP_FASTOPEN", 23)
IPV6_V6ONLY: Final = constant("IPV6_V6ONLY", 26)

#: (level, option) -> (field of TcpConfig, kind)
FIELDS: Final[dict[tuple[int, int], tuple[str, int]]] = {
    (SOL_SOCKET, constant("SO_KEEPALIVE", 9)): ("keepalive", _FLAG),
    (SOL_SOCKET, constant("SO_SNDBUF", 7)): ("snd_buf", _PLAIN),
    (SOL_SOCKET, constant("SO_RCVBUF", 8)): ("rcv_buf", _PLAIN),
    (IPPROTO_TCP, constant("TCP_CORK", 3)): ("cork", _FLAG),
    (IPPROTO_TCP, constant("TCP_MAXSEG", 2)): ("max_segment", _PLAIN),
    (IPPROTO_TCP, constant("TCP_KEEPIDLE", 4)): ("keepalive_idle", _SECONDS),
    (IPPROTO_TCP, constant("TCP_KEEPINTVL", 5)): ("keepalive_interval", _SECONDS),
    (IPPROTO_TCP, constant("TCP_KEEPCNT", 6)): ("keepalive_count", _PLAIN),
    (IPPROTO_TCP, constant("TCP_LINGER2", 8)): ("fin_timeout", _SECONDS),
    (IPPROTO_TCP, constant("TCP_USER_TIMEOUT", 18)): ("user_timeout", _MILLISECONDS),
    (IPPROTO_IP, constant("IP_TTL", 2)): ("ttl", _PLAIN),
    (IPPROTO_IP, constant("IP_TOS", 1)): ("tos", _PLAIN),
    (IPPROTO_IPV6, constant("IPV6_UNICAST_HOPS", 16)): ("ttl", _PLAIN),
    (IPPROTO_IPV6, constant("IPV6_TCLASS", 67)): ("tos", _PLAIN),
}

_UNIT: Final = {_PLAIN: 1, _FLAG: 1, _SECONDS: SECOND, _MILLISECONDS: MILLISECOND}


def decode(level: int, optname: int, value: Any) -> tuple[str, Any]:
    """The field of `TcpConfig` and its new value; an empty name for options that need nothing done."""
    if level == IPPROTO_TCP and optname == TCP_NODELAY:
        return "nagle", NAGLE_OFF if as_int(value) else NAGLE_MINSHALL
    if level == IPPROTO_TCP and optname == TCP_CONGESTION:
        text = value if isinstance(value, str) else bytes(value).rstrip(b"\0").decode("ascii", "replace")
        return "congestion_control", text
    if level == SOL_SOCKET and optname == SO_LINGER:
        raw = bytes(value)
        if len(raw) < 8:
            raise os_error(errno.EINVAL)
        on, seconds = struct.unpack_from("ii", raw)
        return "linger", max(seconds, 0) * SECOND if on else -1
    if level == SOL_SOCKET and optname in (SO_REUSEADDR, SO_REUSEPORT):
        # Both ends of the four-tuple are taken already, and a listener may always bind beside TIME-WAIT connections.
        return "", None
    found = FIELDS.get((level, optname))
    if found is None:
        raise os_error(errno.ENOPROTOOPT)
    name, kind = found
    number = as_int(value)
    if kind == _FLAG:
        return name, bool(number)
    if name == "tos" and 0 <= number <= 255:
        # The lower two bits are ECN's, and what a program says of them is passed over, as by Linux.
        number &= 0xFC
    return name, number * _UNIT[kind]


def to_int(config: TcpConfig, found: tuple[str, int]) -> int:
    """The value of a field, one of `FIELDS`, as the socket API has it."""
    name, kind = found
    return int(getattr(config, name)) // _UNIT[kind]


def as_int(value: Any) -> int:
    """An int, or the one that the bytes of a C int hold. Raises OSError (EINVAL) for fewer than four."""
    if isinstance(value, int):
        return value
    raw = bytes(value)
    if len(raw) < 4:
        raise os_error(errno.EINVAL)
    return int(struct.unpack_from("i", raw)[0])


def os_error(number: int) -> OSError:
    """The OSError of this errno, of the subclass that Python has for it."""
    return OSError(number, os.strerror(number))
