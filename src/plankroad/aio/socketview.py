"""What `transport.get_extra_info("socket")` and `server.sockets` give: names and options of an endpoint, no I/O.

The options act: they change the connection's `TcpConfig` through `Connection.set_option`, or are refused with
ENOPROTOOPT as by a kernel that lacks them.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from typing import TYPE_CHECKING, Any, Final

from plankroad.aio.names import family_of, socket_name
from plankroad.aio.tcpinfo import pack_tcp_info
from plankroad.endpoint import Endpoint
from plankroad.tcp.config import NAGLE_MINSHALL, NAGLE_OFF
from plankroad.units import MILLISECOND, SECOND

if TYPE_CHECKING:
    from plankroad.aio.driver import Driver
    from plankroad.tcp.config import TcpConfig
    from plankroad.tcp.connection import Connection
    from plankroad.tcp.listen import Listener

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
_FIELDS: Final[dict[tuple[int, int], tuple[str, int]]] = {
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


class SocketView:
    """The part of a socket that needs no I/O. Sub-classes say what it is a view of."""

    __slots__ = ("_endpoint",)

    type = socket.SOCK_STREAM
    proto = IPPROTO_TCP

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    def __repr__(self) -> str:
        try:
            peer = f", raddr={self.getpeername()}"
        except OSError:
            peer = ""
        return f"<plankroad.{type(self).__name__} family={self.family.name}, laddr={self.getsockname()}{peer}>"

    @property
    def family(self) -> socket.AddressFamily:
        """AF_INET or AF_INET6."""
        raise NotImplementedError

    @property
    def timeout(self) -> float | None:
        """0.0: nothing here blocks."""
        return 0.0

    def fileno(self) -> int:
        """-1: there is no descriptor."""
        return -1

    def gettimeout(self) -> float | None:
        """0.0: nothing here blocks."""
        return 0.0

    def getblocking(self) -> bool:
        """False: nothing here blocks."""
        return False

    def setblocking(self, flag: bool) -> None:
        """Only False is possible. Raises ValueError for True."""
        if flag:
            raise ValueError("a plankroad socket cannot be set to blocking")

    def settimeout(self, value: float | None) -> None:
        """Only 0 is possible. Raises ValueError for anything else."""
        if value != 0:
            raise ValueError("settimeout(): only 0 timeout is allowed on plankroad sockets")

    def getsockname(self) -> tuple[Any, ...]:
        """The local name."""
        raise NotImplementedError

    def getpeername(self) -> tuple[Any, ...]:
        """The name of the other end. Raises OSError (ENOTCONN) where there is none."""
        raise _error(errno.ENOTCONN)

    def getsockopt(self, level: int, optname: int, buflen: int = 0) -> Any:
        """As `socket.getsockopt`: an int, or `buflen` bytes at most. Raises OSError (ENOPROTOOPT) for others."""
        value = self._get(level, optname)
        if buflen:
            raw = value if isinstance(value, bytes) else struct.pack("i", value)
            return raw[:buflen]
        if isinstance(value, bytes):
            return int.from_bytes(value[:4].ljust(4, b"\0"), "little")
        return value

    def setsockopt(self, level: int, optname: int, value: Any, optlen: int | None = None) -> None:
        """As `socket.setsockopt`. Raises OSError: ENOPROTOOPT for what is unknown, EINVAL for a bad value."""
        if value is None:
            raise _error(errno.EINVAL)
        self._set(level, optname, value)

    def _get(self, level: int, optname: int) -> int | bytes:
        if level == SOL_SOCKET:
            if optname == SO_TYPE:
                return int(self.type)
            if optname == SO_PROTOCOL:
                return self.proto
            if optname == SO_DOMAIN:
                return int(self.family)
            if optname == SO_ERROR:
                return self._take_error()
        raise _error(errno.ENOPROTOOPT)

    def _set(self, level: int, optname: int, value: Any) -> None:
        raise _error(errno.ENOPROTOOPT)

    def _take_error(self) -> int:
        endpoint = self._endpoint
        if endpoint.error:
            return endpoint.error
        soft = endpoint.soft_error
        endpoint.soft_error = 0
        return soft


class ConnectionSocket(SocketView):
    """The socket of a `TcpTransport`."""

    __slots__ = ("_conn", "_driver")

    def __init__(self, connection: Connection, driver: Driver) -> None:
        super().__init__(connection)
        self._conn = connection
        self._driver = driver

    @property
    def family(self) -> socket.AddressFamily:
        return family_of(self._conn.local_addr)

    def getsockname(self) -> tuple[Any, ...]:
        return socket_name(self._conn.local_addr, self._conn.local_port)

    def getpeername(self) -> tuple[Any, ...]:
        return socket_name(self._conn.remote_addr, self._conn.remote_port)

    def _get(self, level: int, optname: int) -> int | bytes:
        config = self._conn.tcb.config
        if level == IPPROTO_TCP:
            if optname == TCP_NODELAY:
                return int(config.nagle == NAGLE_OFF)
            if optname == TCP_CONGESTION:
                return config.congestion_control.encode().ljust(16, b"\0")
            if optname == TCP_INFO:
                return pack_tcp_info(self._conn.info(self._driver.scheduler.now()))
            if optname == TCP_QUICKACK:
                return int(config.delayed_ack == 0)
        if level == SOL_SOCKET:
            if optname == SO_LINGER:
                return struct.pack("ii", config.linger >= 0, max(config.linger, 0) // SECOND)
            if optname in (SO_ACCEPTCONN, SO_REUSEADDR, SO_REUSEPORT):
                return 0
        found = _FIELDS.get((level, optname))
        if found is None:
            return super()._get(level, optname)
        if found[0] == "snd_buf" and config.snd_buf == 0:
            return self._conn.tcb.snd_buf_limit
        if found[0] == "rcv_buf" and config.rcv_buf == 0:
            return self._conn.tcb.rcv_buf
        return _to_int(config, found)

    def _set(self, level: int, optname: int, value: Any) -> None:
        name, setting = _decode(level, optname, value)
        if not name:
            return
        try:
            self._conn.set_option(self._driver.scheduler.now(), name, setting)
        except (ValueError, KeyError) as exc:
            raise OSError(errno.EINVAL, str(exc)) from None
        self._driver.push()

    def shutdown(self, how: int) -> None:
        """`SHUT_WR` and `SHUT_RDWR` send FIN after what was written."""
        if how in (socket.SHUT_WR, socket.SHUT_RDWR):
            self._conn.close(self._driver.scheduler.now())
            self._driver.push()


class ListenerSocket(SocketView):
    """One of `server.sockets`. Options are those that accepted connections start with."""

    __slots__ = ("_listener", "_name")

    def __init__(self, listener: Listener, address: bytes, port: int) -> None:
        super().__init__(listener)
        self._listener = listener
        self._name = (address, port)

    @property
    def family(self) -> socket.AddressFamily:
        return family_of(self._name[0])

    def getsockname(self) -> tuple[Any, ...]:
        return socket_name(*self._name)

    def _get(self, level: int, optname: int) -> int | bytes:
        config = self._listener.config
        if level == IPPROTO_TCP and optname == TCP_NODELAY:
            return int(config.nagle == NAGLE_OFF)
        if level == IPPROTO_TCP and optname == TCP_CONGESTION:
            return config.congestion_control.encode().ljust(16, b"\0")
        if level == IPPROTO_TCP and optname == TCP_FASTOPEN:
            return self._listener.fast_open_queue
        if level == SOL_SOCKET and optname in (SO_ACCEPTCONN, SO_REUSEADDR):
            return 1
        if level == IPPROTO_IPV6 and optname == IPV6_V6ONLY:
            return 1
        found = _FIELDS.get((level, optname))
        if found is None:
            return super()._get(level, optname)
        if found[0] == "snd_buf":
            return config.initial_snd_buf()
        if found[0] == "rcv_buf":
            return config.initial_rcv_buf()
        return _to_int(config, found)

    def _set(self, level: int, optname: int, value: Any) -> None:
        if level == IPPROTO_TCP and optname == TCP_FASTOPEN:
            queue = _as_int(value)
            if not 0 <= queue <= 1 << 20:
                raise _error(errno.EINVAL)
            self._listener.fast_open_queue = queue
            return
        name, setting = _decode(level, optname, value)
        if not name:
            return
        config = self._listener.config
        before = getattr(config, name)
        setattr(config, name, setting)
        try:
            config.validate()
        except ValueError as exc:
            setattr(config, name, before)
            raise OSError(errno.EINVAL, str(exc)) from None


def _decode(level: int, optname: int, value: Any) -> tuple[str, Any]:
    """The field of `TcpConfig` and its new value; an empty name for options that need nothing done."""
    if level == IPPROTO_TCP and optname == TCP_NODELAY:
        return "nagle", NAGLE_OFF if _as_int(value) else NAGLE_MINSHALL
    if level == IPPROTO_TCP and optname == TCP_CONGESTION:
        text = value if isinstance(value, str) else bytes(value).rstrip(b"\0").decode("ascii", "replace")
        return "congestion_control", text
    if level == SOL_SOCKET and optname == SO_LINGER:
        raw = bytes(value)
        if len(raw) < 8:
            raise _error(errno.EINVAL)
        on, seconds = struct.unpack_from("ii", raw)
        return "linger", max(seconds, 0) * SECOND if on else -1
    if level == SOL_SOCKET and optname in (SO_REUSEADDR, SO_REUSEPORT):
        # Both ends of the four-tuple are taken already, and a listener may always bind beside TIME-WAIT connections.
        return "", None
    found = _FIELDS.get((level, optname))
    if found is None:
        raise _error(errno.ENOPROTOOPT)
    name, kind = found
    number = _as_int(value)
    if kind == _FLAG:
        return name, bool(number)
    if name == "tos" and 0 <= number <= 255:
        # The lower two bits are ECN's, and what a program says of them is passed over, as by Linux.
        number &= 0xFC
    return name, number * _UNIT[kind]


def _to_int(config: TcpConfig, found: tuple[str, int]) -> int:
    name, kind = found
    return int(getattr(config, name)) // _UNIT[kind]


def _as_int(value: Any) -> int:
    if isinstance(value, int):
        return value
    raw = bytes(value)
    if len(raw) < 4:
        raise _error(errno.EINVAL)
    return int(struct.unpack_from("i", raw)[0])


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))
