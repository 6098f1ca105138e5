"""What `transport.get_extra_info("socket")` and `server.sockets` give: names and options of an endpoint, no I/O.

The options act: they change the connection's `TcpConfig` through `Connection.set_option`, or are refused with
ENOPROTOOPT as by a kernel that lacks them.
"""

from __future__ import annotations

import errno
import socket
import struct
from typing import TYPE_CHECKING, Any

from plankroad.aio.names import family_of, socket_name
from plankroad.aio.sockopt import (
    FIELDS,
    IPPROTO_IPV6,
    IPPROTO_TCP,
    IPV6_V6ONLY,
    SO_ACCEPTCONN,
    SO_DOMAIN,
    SO_ERROR,
    SO_LINGER,
    SO_PROTOCOL,
    SO_REUSEADDR,
    SO_REUSEPORT,
    SO_TYPE,
    SOL_SOCKET,
    TCP_CONGESTION,
    TCP_FASTOPEN,
    TCP_INFO,
    TCP_NODELAY,
    TCP_QUICKACK,
    as_int,
    decode,
    os_error,
    to_int,
)
from plankroad.aio.tcpinfo import pack_tcp_info
from plankroad.endpoint import Endpoint
from plankroad.tcp.config import NAGLE_OFF
from plankroad.units import SECOND

if TYPE_CHECKING:
    from plankroad.aio.driver import Driver
    from plankroad.tcp.connection import Connection
    from plankroad.tcp.listen import Listener


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
        raise os_error(errno.ENOTCONN)

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
            raise os_error(errno.EINVAL)
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
        raise os_error(errno.ENOPROTOOPT)

    def _set(self, level: int, optname: int, value: Any) -> None:
        raise os_error(errno.ENOPROTOOPT)

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
        found = FIELDS.get((level, optname))
        if found is None:
            return super()._get(level, optname)
        if found[0] == "snd_buf" and config.snd_buf == 0:
            return self._conn.tcb.snd_buf_limit
        if found[0] == "rcv_buf" and config.rcv_buf == 0:
            return self._conn.tcb.rcv_buf
        return to_int(config, found)

    def _set(self, level: int, optname: int, value: Any) -> None:
        name, setting = decode(level, optname, value)
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
        found = FIELDS.get((level, optname))
        if found is None:
            return super()._get(level, optname)
        if found[0] == "snd_buf":
            return config.initial_snd_buf()
        if found[0] == "rcv_buf":
            return config.initial_rcv_buf()
        return to_int(config, found)

    def _set(self, level: int, optname: int, value: Any) -> None:
        if level == IPPROTO_TCP and optname == TCP_FASTOPEN:
            queue = as_int(value)
            if not 0 <= queue <= 1 << 20:
                raise os_error(errno.EINVAL)
            self._listener.fast_open_queue = queue
            return
        name, setting = decode(level, optname, value)
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
