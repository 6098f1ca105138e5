"""getsockopt and setsockopt of the blocking view. Values are the bytes of C; errnos are Linux's.

An option acts on the stack, or is refused with ENOPROTOOPT as by a kernel without it. SO_MARK and SO_PRIORITY are
kept and given back: there is nothing in this stack that would look at them.
"""

from __future__ import annotations

import errno
import struct
from typing import Any, Final

from plankroad.aio.sockopt import FIELDS, decode, os_error, to_int
from plankroad.aio.tcpinfo import pack_tcp_info
from plankroad.tcp.config import NAGLE_OFF
from plankroad.tcp.constants import ESTABLISHED
from plankroad.testing import abi
from plankroad.testing.call import Call
from plankroad.testing.descriptor import Description
from plankroad.testing.tcpsocket import TcpSocket
from plankroad.testing.udpsocket import UdpSocket
from plankroad.units import MICROSECOND, NEVER, SECOND

#: Fields that mean nothing any more once a connection is there.
_BEFORE_ONLY: Final = ("path_mtu_discovery", "fast_open_queue")

_KEPT: Final = ((abi.SOL_SOCKET, abi.SO_MARK), (abi.SOL_SOCKET, abi.SO_PRIORITY))

#: IP_PMTUDISC_DONT (fragments are allowed), _WANT and _DO; there is no way to send without asking the path's MTU.
_PMTUDISC: Final = (0, 1, 2)

#: The smallest buffers that Linux gives (SOCK_MIN_SNDBUF, SOCK_MIN_RCVBUF), before it doubles them.
_MIN_BUFFER: Final = {"snd_buf": 2304, "rcv_buf": 1152}

#: (level, option) -> attribute of UdpEndpoint, least and greatest value.
_UDP_FIELDS: Final = {
    (abi.SOL_SOCKET, abi.SO_BROADCAST): ("broadcast", 0, 1),
    (abi.SOL_SOCKET, abi.SO_SNDBUF): ("snd_buf", 1, 1 << 30),
    (abi.SOL_SOCKET, abi.SO_RCVBUF): ("rcv_buf", 1, 1 << 30),
    (abi.IPPROTO_IP, abi.IP_TTL): ("ttl", -1, 255),
    (abi.IPPROTO_IP, abi.IP_TOS): ("tos", 0, 255),
    (abi.IPPROTO_IP, abi.IP_MTU_DISCOVER): ("pmtu", 0, 3),
    (abi.IPPROTO_IPV6, abi.IPV6_UNICAST_HOPS): ("ttl", -1, 255),
    (abi.IPPROTO_IPV6, abi.IPV6_TCLASS): ("tos", 0, 255),
    (abi.IPPROTO_IPV6, abi.IPV6_MTU_DISCOVER): ("pmtu", 0, 3),
}


def _int(value: bytes) -> int:
    if len(value) < 4:
        raise os_error(errno.EINVAL)
    return int(struct.unpack_from("i", value)[0])


def _byte_or_int(value: bytes) -> int:
    """The options of IP take a byte as well."""
    return value[0] if 1 <= len(value) < 4 else _int(value)


def _unsigned(value: bytes) -> int:
    return _int(value) & 0xFFFFFFFF


def get_option(sock: Description, call: Call, level: int, option: int, size: int) -> None:
    """`call.data` becomes what is there, `size` bytes at most. Raises OSError: ENOTSOCK, EINVAL, ENOPROTOOPT."""
    if size < 0:
        raise os_error(errno.EINVAL)
    if isinstance(sock, TcpSocket):
        value = _get_tcp(sock, level, option)
    elif isinstance(sock, UdpSocket):
        value = _get_udp(sock, level, option)
    else:
        raise os_error(errno.ENOTSOCK)
    raw = value if isinstance(value, bytes) else struct.pack("I", value & 0xFFFFFFFF)
    call.data = raw[:size]


def set_option(sock: Description, level: int, option: int, value: bytes | None) -> None:
    """Raises OSError: ENOTSOCK, EINVAL, EFAULT, ENOPROTOOPT and what the option itself has."""
    if not isinstance(sock, TcpSocket | UdpSocket):
        raise os_error(errno.ENOTSOCK)
    if value is None:
        raise os_error(errno.EFAULT)
    if (level, option) in _KEPT:
        sock.stored[(level, option)] = _int(value)
    elif isinstance(sock, TcpSocket):
        _set_tcp(sock, level, option, value)
    else:
        _set_udp(sock, level, option, value)


def _timeval(timeout: int) -> bytes:
    return struct.pack("qq", timeout // SECOND, timeout % SECOND // MICROSECOND) if timeout != NEVER else bytes(16)


def _from_timeval(value: bytes) -> int:
    if len(value) < 16:
        raise os_error(errno.EINVAL)
    seconds, micros = struct.unpack_from("qq", value)
    if not 0 <= micros < 1_000_000:
        raise os_error(errno.EDOM)
    if seconds < 0:
        return 0
    return (seconds * SECOND + micros * MICROSECOND) or NEVER


def _common(sock: TcpSocket | UdpSocket, level: int, option: int) -> int | bytes | None:
    if (level, option) in _KEPT:
        return sock.stored.get((level, option), 0)
    if level == abi.SOL_SOCKET:
        if option == abi.SO_TYPE:
            return sock.kind
        if option == abi.SO_DOMAIN:
            return sock.family
        if option == abi.SO_PROTOCOL:
            return abi.IPPROTO_TCP if sock.kind == abi.SOCK_STREAM else abi.IPPROTO_UDP
        if option == abi.SO_REUSEADDR:
            return int(sock.reuse)
        if option == abi.SO_RCVTIMEO:
            return _timeval(sock.rcv_timeout)
        if option == abi.SO_SNDTIMEO:
            return _timeval(sock.snd_timeout)
    if level == abi.IPPROTO_IPV6 and option == abi.IPV6_V6ONLY and sock.family == abi.AF_INET6:
        return int(sock.v6only)
    return None


def _set_common(sock: TcpSocket | UdpSocket, level: int, option: int, value: bytes, fresh: bool) -> bool:
    if level == abi.SOL_SOCKET:
        if option == abi.SO_REUSEADDR:
            sock.reuse = bool(_int(value))
            return True
        if option == abi.SO_RCVTIMEO:
            sock.rcv_timeout = _from_timeval(value)
            return True
        if option == abi.SO_SNDTIMEO:
            sock.snd_timeout = _from_timeval(value)
            return True
    if level == abi.IPPROTO_IPV6 and option == abi.IPV6_V6ONLY and sock.family == abi.AF_INET6:
        if not fresh:
            raise os_error(errno.EINVAL)
        sock.v6only = bool(_int(value))
        return True
    return False


def _get_tcp(sock: TcpSocket, level: int, option: int) -> int | bytes:
    common = _common(sock, level, option)
    if common is not None:
        return common
    conn = sock.conn
    listener = sock.listener
    config = conn.tcb.config if conn is not None else listener.config if listener is not None else sock.config()
    if level == abi.SOL_SOCKET:
        if option == abi.SO_ERROR:
            return _take_error(sock)
        if option == abi.SO_ACCEPTCONN:
            return int(listener is not None)
        if option == abi.SO_LINGER:
            return struct.pack("ii", config.linger >= 0, max(config.linger, 0) // SECOND)
        if option == abi.SO_REUSEPORT:
            return int(sock.reuse_port)
        if option == abi.SO_OOBINLINE:
            return int(sock.oob_inline)
        if option == abi.SO_RCVLOWAT:
            return sock.rcv_lowat
        if option == abi.SO_SNDLOWAT:
            return 1
        if option in (abi.SO_SNDBUF, abi.SO_RCVBUF):
            return _buffer(sock, "snd_buf" if option == abi.SO_SNDBUF else "rcv_buf")
    if level == abi.IPPROTO_TCP:
        if option == abi.TCP_NODELAY:
            return int(config.nagle == NAGLE_OFF)
        if option == abi.TCP_CONGESTION:
            return config.congestion_control.encode().ljust(16, b"\0")
        if option == abi.TCP_QUICKACK:
            return int(config.delayed_ack == 0)
        if option == abi.TCP_INFO:
            info = conn.info(sock.table.now()) if conn is not None else {"state": "LISTEN" if listener else "CLOSED"}
            return pack_tcp_info(info)
        if option == abi.TCP_MAXSEG:
            if conn is None or sock.deferred is not None:
                return config.max_segment or 536
            return (
                conn.tcb.snd_mss
                if conn.tcb.state >= ESTABLISHED
                else min(config.max_segment or 536, conn.tcb.snd_mss)
            )
        if option == abi.TCP_FASTOPEN:
            return listener.fast_open_queue if listener is not None else config.fast_open_queue
        if option == abi.TCP_FASTOPEN_CONNECT:
            return int(sock.fast_open_connect)
        if option == abi.TCP_FASTOPEN_KEY:
            return sock.fast_open_key
        if option == abi.TCP_NOTSENT_LOWAT:
            return sock.notsent_lowat
        if option == abi.TCP_INQ:
            return int(sock.inq)
        if option == abi.TCP_SYNCNT:
            return sock.stored.get((level, option), sock.table.policy.syn_retries)
    if level == abi.IPPROTO_IP and option == abi.IP_MTU:
        if conn is None:
            raise os_error(errno.ENOTCONN)
        return conn.tcb.path_mss + 40
    if level == abi.IPPROTO_IP and option == abi.IP_MTU_DISCOVER:
        return sock.stored.get((level, option), 1)
    if level == abi.IPPROTO_IP and option == abi.IP_FREEBIND:
        return int(sock.free_bind)
    found = FIELDS.get((level, option))
    if found is None:
        raise os_error(errno.ENOPROTOOPT)
    return to_int(config, found)


def _buffer(sock: TcpSocket, name: str) -> int:
    """Linux gives twice what was asked for, since it counts what packets take of memory."""
    chosen = sock.chosen.get(name)
    if chosen:
        return 2 * int(chosen)
    conn = sock.conn
    if conn is not None:
        return conn.tcb.snd_buf_limit if name == "snd_buf" else conn.tcb.rcv_buf
    config = sock.config()
    return config.initial_snd_buf() if name == "snd_buf" else config.initial_rcv_buf()


def _take_error(sock: TcpSocket) -> int:
    error = sock.take_error()
    conn = sock.conn
    if error or conn is None:
        return error
    soft = conn.tcb.soft_error
    conn.tcb.soft_error = 0
    conn.soft_error = 0
    return soft


def _set_tcp(sock: TcpSocket, level: int, option: int, value: bytes) -> None:
    fresh = sock.conn is None and sock.listener is None and sock.bound is None
    if _set_common(sock, level, option, value, fresh):
        return
    if level == abi.SOL_SOCKET:
        if option == abi.SO_REUSEPORT:
            sock.reuse_port = bool(_int(value))
            return
        if option == abi.SO_OOBINLINE:
            sock.oob_inline = bool(_int(value))
            return
        if option == abi.SO_RCVLOWAT:
            number = _int(value)
            sock.rcv_lowat = (1 << 31) - 1 if number < 0 else number or 1
            sock.changed()
            return
        if option in (abi.SO_SNDBUF, abi.SO_RCVBUF):
            name, limit = ("snd_buf", sock.table.policy.wmem_max)
            if option == abi.SO_RCVBUF:
                name, limit = ("rcv_buf", sock.table.policy.rmem_max)
            _apply(sock, name, max(min(_unsigned(value), limit), _MIN_BUFFER[name]))
            return
    if level == abi.IPPROTO_TCP and _set_tcp_level(sock, option, value):
        return
    if level == abi.IPPROTO_IP:
        if option == abi.IP_MTU_DISCOVER:
            number = _byte_or_int(value)
            if number not in _PMTUDISC:
                raise os_error(errno.EINVAL if number > _PMTUDISC[-1] else errno.ENOPROTOOPT)
            sock.stored[(level, option)] = number
            _apply(sock, "path_mtu_discovery", number != 0)
            path = sock.table.stack.paths.get(sock.conn) if sock.conn is not None else None
            if path is not None:
                path.dont_fragment = number != 0
                path.generation = -1
            return
        if option == abi.IP_FREEBIND:
            # Any address can be bound to; the stack listens at its own only, and says so in listen.
            sock.free_bind = bool(_byte_or_int(value))
            return
    if level in (abi.IPPROTO_IP, abi.IPPROTO_IPV6) and 1 <= len(value) < 4:
        value = struct.pack("I", value[0])
    name, setting = decode(level, option, value)
    if name:
        _apply(sock, name, setting)


def _set_tcp_level(sock: TcpSocket, option: int, value: bytes) -> bool:
    """Options of IPPROTO_TCP that are more than a field of `TcpConfig`; False for the others."""
    if option == abi.TCP_FASTOPEN:
        queue = _int(value)
        if queue < 0 or sock.conn is not None:
            raise os_error(errno.EINVAL)
        queue = min(queue, sock.table.policy.somaxconn)
        sock.chosen["fast_open_queue"] = queue
        if sock.listener is not None:
            sock.listener.fast_open_queue = queue
    elif option == abi.TCP_FASTOPEN_CONNECT:
        number = _int(value)
        if number not in (0, 1):
            raise os_error(errno.EINVAL)
        if not sock.table.policy.fast_open_client:
            raise os_error(errno.EOPNOTSUPP)
        if sock.conn is not None or sock.listener is not None:
            raise os_error(errno.EINVAL)
        sock.fast_open_connect = bool(number)
    elif option == abi.TCP_FASTOPEN_KEY:
        if len(value) not in (16, 32):
            raise os_error(errno.EINVAL)
        sock.fast_open_key = value
        if sock.listener is not None:
            sock.listener.set_fast_open_key(value[:16], value[16:])
    elif option == abi.TCP_NOTSENT_LOWAT:
        sock.notsent_lowat = _unsigned(value)
        sock.changed()
    elif option == abi.TCP_INQ:
        number = _int(value)
        if number not in (0, 1):
            raise os_error(errno.EINVAL)
        sock.inq = bool(number)
    elif option == abi.TCP_SYNCNT:
        number = _int(value)
        if not 1 <= number <= 127:
            raise os_error(errno.EINVAL)
        sock.stored[(abi.IPPROTO_TCP, option)] = number
        _apply(sock, "syn_retries", number)
    elif option == abi.TCP_MAXSEG:
        number = _int(value)
        if number and not 88 <= number <= 32767:
            raise os_error(errno.EINVAL)
        _apply(sock, "max_segment", number)
    elif option == abi.TCP_QUICKACK:
        if sock.conn is not None:
            # Not for good: it is the quick acknowledgements of a beginning, given anew or ended.
            count = sock.table.stack.config.tcp.quick_acks if _int(value) else 0
            sock.conn.set_option(sock.table.now(), "quick_acks", count)
    elif option == abi.TCP_NODELAY:
        name, setting = decode(abi.IPPROTO_TCP, option, value)
        _apply(sock, name, setting)
        if sock.conn is not None and _int(value):
            # What is held back goes at once, even if cork or MSG_MORE holds it.
            sock.conn.push(sock.table.now())
    else:
        return False
    return True


def _apply(sock: TcpSocket, name: str, value: Any) -> None:
    """Change a field of the socket's `TcpConfig`, whatever the socket is by now."""
    conn = sock.conn
    try:
        if conn is not None and name not in _BEFORE_ONLY:
            conn.set_option(sock.table.now(), name, value)
        config = sock.config()
        setattr(config, name, value)
        config.validate()
    except ValueError as exc:
        raise OSError(errno.ENOENT if name == "congestion_control" else errno.EINVAL, str(exc)) from None
    except TypeError as exc:
        raise OSError(errno.EINVAL, str(exc)) from None
    sock.chosen[name] = value
    if sock.listener is not None:
        sock.table.refresh_listener(sock)


def _get_udp(sock: UdpSocket, level: int, option: int) -> int | bytes:
    common = _common(sock, level, option)
    if common is not None:
        return common
    endpoint = sock.endpoint
    if level == abi.SOL_SOCKET and option == abi.SO_ERROR:
        if endpoint is None:
            return 0
        soft = endpoint.soft_error
        error = endpoint.take_error()
        endpoint.soft_error = 0
        return error or soft
    if level == abi.SOL_SOCKET and option == abi.SO_ACCEPTCONN:
        return 0
    found = _UDP_FIELDS.get((level, option))
    if found is None:
        raise os_error(errno.ENOPROTOOPT)
    name = found[0]
    config = sock.table.stack.config
    defaults = {
        "snd_buf": config.udp_snd_buf,
        "rcv_buf": config.udp_rcv_buf,
        "ttl": config.ttl,
        "pmtu": 1,
        "tos": 0,
        "broadcast": 0,
    }
    value = sock.chosen.get(name)
    if value is None or (name == "ttl" and value < 0):
        return defaults[name]
    return 2 * value if name in ("snd_buf", "rcv_buf") else value


def _set_udp(sock: UdpSocket, level: int, option: int, value: bytes) -> None:
    if _set_common(sock, level, option, value, sock.endpoint is None):
        return
    found = _UDP_FIELDS.get((level, option))
    if found is None:
        raise os_error(errno.ENOPROTOOPT)
    name, low, high = found
    number = _int(value)
    if not low <= number <= high:
        raise os_error(errno.EINVAL)
    sock.chosen[name] = number
    if sock.endpoint is not None:
        setattr(sock.endpoint, name, bool(number) if name == "broadcast" else number)
