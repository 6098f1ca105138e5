"""`Socket`: what `socket.socket` is, on a host of a `World`, in virtual time.

Names, errors and time-outs are those of Python's sockets: `OSError` and its subclasses with Linux's errnos,
TimeoutError where `settimeout` says so, BlockingIOError where a call would have to wait and must not. Names of hosts in
addresses are those of the world.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from plankroad.aio.sockopt import os_error
from plankroad.testing.abi import (
    AF_INET,
    AF_INET6,
    F_GETFL,
    F_SETFL,
    MSG_DONTWAIT,
    O_NONBLOCK,
    SOCK_DGRAM,
    SOCK_NONBLOCK,
    SOCK_TYPE_MASK,
)
from plankroad.testing.call import Call, SockName
from plankroad.wire.address import bytes_to_ip, ip_to_bytes

if TYPE_CHECKING:
    from plankroad.testing.world import Machine

#: `("10.0.0.1", 80)`, and for AF_INET6 with flow information and scope behind it, as the socket module has it.
Address = tuple[Any, ...]


class Socket:
    """See the module. Closed by `close` or at the end of a `with` block."""

    def __init__(self, machine: Machine, family: int, kind: int, proto: int, fd: int = -1) -> None:
        self.machine = machine
        self.family = int(family)
        self.type = int(kind) & SOCK_TYPE_MASK
        self.proto = int(proto)
        self._timeout: float | None = 0.0 if kind & SOCK_NONBLOCK else None
        self._files = 0
        self._closing = False
        if fd < 0:
            fd = machine.call("socket", self.family, int(kind), self.proto).value
        self._fd = fd

    def __repr__(self) -> str:
        return f"<plankroad.testing.Socket fd={self._fd} on {self.machine.name}>"

    def __enter__(self) -> Socket:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Waiting

    def _call(self, kind: str, *arguments: object) -> Call:
        """A call that waits as long as `settimeout` allows."""
        table = self.machine.table
        return self.machine.world.finish(table, table.start(kind, self._fd, *arguments), self._timeout or None)

    def settimeout(self, value: float | None) -> None:
        """Seconds that calls wait at most: None for ever, 0 not at all. Raises ValueError for less than 0."""
        if value is not None and value < 0:
            raise ValueError("Timeout value out of range")
        self._timeout = value
        flags = self.machine.call("fcntl", self._fd, F_GETFL).value & ~O_NONBLOCK
        self.machine.call("fcntl", self._fd, F_SETFL, flags | (O_NONBLOCK if value == 0 else 0))

    def gettimeout(self) -> float | None:
        """What `settimeout` said."""
        return self._timeout

    def setblocking(self, flag: bool) -> None:
        """`settimeout(None)` or `settimeout(0)`."""
        self.settimeout(None if flag else 0.0)

    def getblocking(self) -> bool:
        """Whether calls wait."""
        return self._timeout != 0

    def fileno(self) -> int:
        """The descriptor in the machine's table; -1 once it is closed."""
        return self._fd

    # Names

    def _name(self, address: Address) -> SockName:
        host, port = address[0], int(address[1])
        if host == "":
            return SockName(self.family, bytes(4 if self.family == AF_INET else 16), port)
        size = 4 if self.family == AF_INET else 16
        texts = self.machine.world.addresses(str(host))
        for text in texts:
            if len(ip_to_bytes(text)) == size:
                return SockName(self.family, ip_to_bytes(text), port, int(address[3]) if len(address) > 3 else 0)
        raise OSError(f"{host} has no address of this socket's family")

    def _address(self, name: SockName | None) -> Address:
        if name is None:
            return ("", 0)
        if name.family == AF_INET6:
            return (bytes_to_ip(name.address), name.port, 0, name.scope)
        return (bytes_to_ip(name.address), name.port)

    def getsockname(self) -> Address:
        """The socket's own name."""
        return self._address(self.machine.call("getsockname", self._fd).name)

    def getpeername(self) -> Address:
        """The peer's. Raises OSError (ENOTCONN)."""
        return self._address(self.machine.call("getpeername", self._fd).name)

    # Opening and closing

    def bind(self, address: Address) -> None:
        """As `socket.bind`; "" is any address. Raises OSError."""
        self.machine.call("bind", self._fd, self._name(address))

    def listen(self, backlog: int = 128) -> None:
        """As `socket.listen`. Raises OSError."""
        self.machine.call("listen", self._fd, backlog)

    def accept(self) -> tuple[Socket, Address]:
        """The next connection and the name of its peer. Raises OSError, TimeoutError."""
        call = self._call("accept4", 0)
        return Socket(self.machine, self.family, self.type, self.proto, call.value), self._address(call.name)

    def connect(self, address: Address) -> None:
        """Raises OSError (ConnectionRefusedError, ...), TimeoutError."""
        self._call("connect", self._name(address))

    def connect_ex(self, address: Address) -> int:
        """`connect` that gives the errno instead of raising it."""
        try:
            self.connect(address)
        except TimeoutError as exc:
            return exc.errno or 11
        except OSError as exc:
            if exc.errno is None:
                raise
            return exc.errno
        return 0

    def shutdown(self, how: int) -> None:
        """End one direction or both. Raises OSError."""
        self.machine.call("shutdown", self._fd, how)

    def close(self) -> None:
        """Give the descriptor back, once the files of `makefile` are closed too. A second call does nothing."""
        self._closing = True
        if self._files == 0 and self._fd >= 0:
            fd, self._fd = self._fd, -1
            self.machine.call("close", fd)

    def detach(self) -> int:
        """The descriptor, which this object does not have any more."""
        fd, self._fd = self._fd, -1
        return fd

    # Data

    def recv(self, bufsize: int, flags: int = 0) -> bytes:
        """Up to `bufsize` bytes, b"" at the end. Raises OSError, TimeoutError."""
        return self._call("recv", bufsize, int(flags)).data

    def recvfrom(self, bufsize: int, flags: int = 0) -> tuple[bytes, Address]:
        """The same with the sender's name."""
        call = self._call("recvfrom", bufsize, int(flags))
        return call.data, self._address(call.name)

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        """`recv` into a writable buffer; the number of bytes."""
        view = memoryview(buffer).cast("B")
        data = self.recv(nbytes or len(view), flags)
        view[: len(data)] = data
        return len(data)

    def recvmsg(
        self, bufsize: int, ancbufsize: int = 0, flags: int = 0
    ) -> tuple[bytes, list[tuple[int, int, bytes]], int, Address]:
        """As `socket.recvmsg`."""
        call = self._call("recvmsg", [bufsize], int(flags), ancbufsize)
        return call.data, call.control, call.flags, self._address(call.name)

    def send(self, data: bytes | bytearray | memoryview, flags: int = 0) -> int:
        """How many bytes were taken; one at least. Raises OSError, TimeoutError."""
        raw = bytes(data)
        if self.type == SOCK_DGRAM or not raw or self._timeout == 0:
            return self._call("send", raw, int(flags)).value
        # A blocking write waits until all is taken; this one is content with a part, as Python's.
        table = self.machine.table
        call = table.start("send", self._fd, raw, int(flags) | MSG_DONTWAIT)
        if call.done and call.errno == 11:
            self._call("send", raw[:1], int(flags))
            return 1
        return self.machine.world.finish(table, call).value

    def sendall(self, data: bytes | bytearray | memoryview, flags: int = 0) -> None:
        """All of it. Raises OSError, TimeoutError; how much was taken then is not known."""
        raw = bytes(data)
        at = 0
        while at < len(raw):
            at += self._call("send", raw[at:], int(flags)).value

    def sendto(self, data: bytes | bytearray | memoryview, *arguments: Any) -> int:
        """`sendto(data, address)` or `sendto(data, flags, address)`."""
        flags, address = (0, arguments[0]) if len(arguments) == 1 else arguments
        return self._call("sendto", bytes(data), int(flags), self._name(address)).value

    def sendmsg(
        self,
        buffers: Iterable[bytes | bytearray | memoryview],
        ancdata: Iterable[tuple[int, int, bytes]] = (),
        flags: int = 0,
        address: Address | None = None,
    ) -> int:
        """As `socket.sendmsg`."""
        name = None if address is None else self._name(address)
        pieces = [bytes(one) for one in buffers]
        return self._call("sendmsg", pieces, int(flags), name, list(ancdata)).value

    # Options

    def getsockopt(self, level: int, optname: int, buflen: int = 0) -> Any:
        """An int, or `buflen` bytes at most. Raises OSError (ENOPROTOOPT)."""
        call = self.machine.call("getsockopt", self._fd, int(level), int(optname), buflen or 4)
        return call.data if buflen else int(struct.unpack("i", call.data.ljust(4, b"\0"))[0])

    def setsockopt(self, level: int, optname: int, value: int | bytes | None, optlen: int | None = None) -> None:
        """Raises OSError (ENOPROTOOPT, EINVAL, ...)."""
        if value is None:
            raise os_error(14)
        raw = struct.pack("I", value & 0xFFFFFFFF) if isinstance(value, int) else bytes(value)
        self.machine.call("setsockopt", self._fd, int(level), int(optname), raw)

    # Files

    def makefile(
        self,
        mode: str = "r",
        buffering: int | None = None,
        *,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> Any:
        """As `socket.makefile`: what the standard library's protocols (http.client, smtplib, ...) read from."""
        if not set(mode) <= set("rwb"):
            raise ValueError(f"invalid mode {mode!r} (only r, w, b allowed)")
        raw = _RawFile(self, "r" in mode or "w" not in mode, "w" in mode)
        self._files += 1
        if buffering == 0:
            if "b" not in mode:
                raise ValueError("unbuffered streams must be binary")
            return raw
        size = buffering if buffering is not None and buffering > 0 else io.DEFAULT_BUFFER_SIZE
        stream: Any
        if raw.reads and raw.writes:
            stream = io.BufferedRWPair(raw, raw, size)
        elif raw.reads:
            stream = io.BufferedReader(raw, size)
        else:
            stream = io.BufferedWriter(raw, size)
        if "b" in mode:
            return stream
        return io.TextIOWrapper(stream, encoding, errors, newline)

    def file_closed(self) -> None:
        """One of the files of `makefile` was closed."""
        self._files -= 1
        if self._closing:
            self.close()


class _RawFile(io.RawIOBase):
    """A socket as a stream of bytes."""

    def __init__(self, sock: Socket, reads: bool, writes: bool) -> None:
        super().__init__()
        self._sock = sock
        self.reads = reads
        self.writes = writes

    def readable(self) -> bool:
        return self.reads

    def writable(self) -> bool:
        return self.writes

    def readinto(self, buffer: Any) -> int | None:
        try:
            return self._sock.recv_into(buffer)
        except BlockingIOError:
            return None

    def write(self, data: Any) -> int | None:
        try:
            return self._sock.send(data)
        except BlockingIOError:
            return None

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._sock.file_closed()
