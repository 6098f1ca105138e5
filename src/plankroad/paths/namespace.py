"""A process in a network namespace of its own: how it is told what to do, and what it makes there.

A namespace is its process's alone and has no name, so it, its devices and its sockets go when the process does,
whatever ends it. Nothing of the machine's own network is touched.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import socket
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from plankroad.link import tunctl
from plankroad.link.netlink import RouteSocket

_CLONE_NEWNET: Final = 0x40000000
_SIOCSIFTXQLEN: Final = 0x8943


class Channel:
    """Messages to and from the other process."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    def send(self, message: dict[str, Any], fds: tuple[int, ...] = ()) -> None:
        """Send an object and descriptors."""
        data = json.dumps(message).encode()
        socket.send_fds(self.sock, [len(data).to_bytes(4, "big")], fds)
        self.sock.sendall(data)

    def receive(self) -> tuple[dict[str, Any], list[int]]:
        """The next object and descriptors; raises EOFError when the other process is gone."""
        head, fds, _, _ = socket.recv_fds(self.sock, 4, 4)
        head += self._exactly(4 - len(head))
        message = json.loads(self._exactly(int.from_bytes(head, "big")))
        return message, list(fds)

    def _exactly(self, size: int) -> bytes:
        parts = bytearray()
        while len(parts) < size:
            data = self.sock.recv(min(1 << 16, size - len(parts)))
            if not data:
                raise EOFError("the other process is gone")
            parts += data
        return bytes(parts)


def enter_namespace(sysctls: Mapping[str, str]) -> None:
    """Leave the process's network namespace for a new one, and set "ipv4/tcp_sack" and the like there.

    It is the calling thread that goes, with those that it starts afterwards. Raises OSError without root.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET):
        code = ctypes.get_errno()
        raise OSError(code, f"a network namespace of its own needs root: {os.strerror(code)}")
    for name, value in sysctls.items():
        path = Path("/proc/sys/net", name)
        if name.startswith("ipv6/") and not path.exists():
            continue
        path.write_text(value, encoding="ascii")


def open_device(
    routes: RouteSocket, name: str, mtu: int, addresses: Sequence[str], queue_length: int
) -> tuple[int, int]:
    """A TUN device in the namespace of `routes`, up, with addresses ("10.0.0.1/24"): its descriptor and its index.

    It has no offloads: the kernel cuts what it sends into packets and completes their checksums before they come out.
    It keeps `queue_length` packets until they are read.
    """
    fd, name, _ = tunctl.open_device(name, tunctl.IFF_TUN, False)
    try:
        tunctl.forget_offloads(fd)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            fcntl.ioctl(control.fileno(), _SIOCSIFTXQLEN, struct.pack("16si20x", name.encode(), queue_length))
        info = routes.link(name)
        if info is None:
            raise OSError("the device went away while it was set up")
        routes.set_mtu(info.index, mtu)
        routes.set_up(info.index, True)
        for address in addresses:
            routes.add_address(info.index, address)
    except BaseException:
        os.close(fd)
        raise
    return fd, info.index
