"""Setting up network devices of Linux: the few rtnetlink requests (rtnetlink(7)) that a TUN or TAP link needs.

A socket belongs to the network namespace it was opened in, so one `RouteSocket` kept by a link goes on configuring
its device from wherever it is called.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import socket
import struct
import time
from typing import Final

_NETLINK_ROUTE: Final = 0
_SOL_NETLINK: Final = 270
_NETLINK_ADD_MEMBERSHIP: Final = 1
_NETLINK_DROP_MEMBERSHIP: Final = 2
_NETLINK_CAP_ACK: Final = 10
_NETLINK_EXT_ACK: Final = 11

_NLMSG_ERROR: Final = 2
_NLM_F_REQUEST: Final = 0x01
_NLM_F_ACK: Final = 0x04
_NLM_F_EXCL: Final = 0x200
_NLM_F_CREATE: Final = 0x400
_NLM_F_ACK_TLVS: Final = 0x200

_RTM_NEWLINK: Final = 16
_RTM_GETLINK: Final = 18
_RTM_NEWADDR: Final = 20
_RTM_DELADDR: Final = 21
_RTM_NEWROUTE: Final = 24
_RTM_DELROUTE: Final = 25

_IFLA_ADDRESS: Final = 1
_IFLA_IFNAME: Final = 3
_IFLA_MTU: Final = 4
_IFA_ADDRESS: Final = 1
_IFA_LOCAL: Final = 2
_IFA_FLAGS: Final = 8
_IFA_F_NODAD: Final = 0x02
_RTA_DST: Final = 1
_RTA_OIF: Final = 4
_RTA_GATEWAY: Final = 5
_RT_TABLE_MAIN: Final = 254
_RTPROT_STATIC: Final = 4
_RT_SCOPE_UNIVERSE: Final = 0
_RT_SCOPE_LINK: Final = 253
_RTN_UNICAST: Final = 1
_RTN_LOCAL: Final = 2
_RTNLGRP_IPV6_ROUTE: Final = 11

_IFF_UP: Final = 0x1
_IFF_LOWER_UP: Final = 0x10000

#: Seconds to wait for what the kernel does at once, if later than it answers.
_LIMIT: Final = 5.0

_HEADER: Final = struct.Struct("=IHHII")
_ATTRIBUTE: Final = struct.Struct("=HH")


class LinkInfo:
    """What the kernel says of a network device: its index, MTU in bytes, whether it is up, whether it has a carrier as
    well (`running`), and its MAC (or b"").
    """

    __slots__ = ("index", "mac", "mtu", "running", "up")

    def __init__(self, index: int, mtu: int, flags: int, mac: bytes) -> None:
        self.index = index
        self.mac = mac
        self.mtu = mtu
        self.up = bool(flags & _IFF_UP)
        self.running = bool(flags & _IFF_UP and flags & _IFF_LOWER_UP)


def _attribute(kind: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(4 + len(value), kind) + value + bytes(-len(value) & 3)


def _attributes(data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    offset = 0
    while offset + 4 <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < 4:
            break
        found[kind & 0x3FFF] = data[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    return found


def _wait_for_local_route(news: socket.socket, address: bytes) -> None:
    deadline = time.monotonic() + _LIMIT
    while (left := deadline - time.monotonic()) > 0:
        news.settimeout(left)
        try:
            message = news.recv(65536)
        except TimeoutError:
            break
        if _HEADER.unpack_from(message)[1] != _RTM_NEWROUTE:
            continue
        body = message[_HEADER.size :]
        if body[1] == 128 and body[7] == _RTN_LOCAL and _attributes(body[12:]).get(_RTA_DST) == address:
            return
    raise TimeoutError(errno.ETIMEDOUT, f"the kernel does not put the address {ipaddress.ip_address(address)} to use")


def _discard(news: socket.socket) -> None:
    """Forget what was not read: the next wait is for something else."""
    news.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while news.recv(65536):
            pass


class RouteSocket:
    """A socket to the kernel's routing and device tables, of the network namespace of the thread that opens it.

    Each request waits for the kernel's answer, which it gives at once. They raise OSError with the kernel's errno and
    its own words where it has some: PermissionError without CAP_NET_ADMIN.
    """

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_ROUTE)
        self._sequence = 0
        # What the kernel tells unasked. It must come of the same namespace, so it is opened here and now.
        self._news = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_ROUTE)
        try:
            self._news.bind((0, 0))
            self._socket.bind((0, 0))
            self._socket.settimeout(_LIMIT)
            for option in (_NETLINK_EXT_ACK, _NETLINK_CAP_ACK):
                self._socket.setsockopt(_SOL_NETLINK, option, 1)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        self._socket.close()
        self._news.close()

    def link(self, name: str) -> LinkInfo | None:
        """The device of that name, or None."""
        try:
            return self._link(0, _attribute(_IFLA_IFNAME, name.encode() + b"\0"), name)
        except OSError as error:
            if error.errno == errno.ENODEV:
                return None
            raise

    def _link(self, index: int, attributes: bytes, what: str) -> LinkInfo:
        body = struct.pack("=BxHiII", socket.AF_UNSPEC, 0, index, 0, 0)
        answer = self._request(_RTM_GETLINK, 0, body + attributes, what)
        _, _, index, flags, _ = struct.unpack_from("=BxHiII", answer)
        found = _attributes(answer[16:])
        mtu = struct.unpack("=I", found[_IFLA_MTU])[0]
        return LinkInfo(index, mtu, flags, found.get(_IFLA_ADDRESS, b""))

    def set_up(self, index: int, up: bool) -> None:
        """Take the device up or down."""
        self._set_link(index, _IFF_UP if up else 0, _IFF_UP, b"", "up" if up else "down")

    def set_mtu(self, index: int, mtu: int) -> None:
        """Set the device's MTU in bytes."""
        self._set_link(index, 0, 0, _attribute(_IFLA_MTU, struct.pack("=I", mtu)), f"mtu {mtu}")

    def set_mac(self, index: int, mac: bytes) -> None:
        """Set the 6-byte MAC of the kernel's end."""
        self._set_link(index, 0, 0, _attribute(_IFLA_ADDRESS, mac), f"address {mac.hex(':')}")

    def _set_link(self, index: int, flags: int, change: int, attributes: bytes, what: str) -> None:
        body = struct.pack("=BxHiII", socket.AF_UNSPEC, 0, index, flags, change)
        self._request(_RTM_NEWLINK, _NLM_F_ACK, body + attributes, what)

    def add_address(self, index: int, address: str) -> bool:
        """Give the device an address with its prefix, "10.0.0.1/24"; False where it had it already.

        IPv6 addresses get no duplicate address detection: nobody else is on the wire. Where the device is running, an
        address can be used when this returns.
        """
        flags = _NLM_F_ACK | _NLM_F_CREATE | _NLM_F_EXCL
        interface = ipaddress.ip_interface(address)
        try:
            if interface.version == 4:
                self._change_address(_RTM_NEWADDR, flags, index, address)
                return True
            # The kernel puts an IPv6 address to use in a work queue, after it has answered. It has when it makes the
            # address's local route known.
            self._news.setsockopt(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, _RTNLGRP_IPV6_ROUTE)
            try:
                self._change_address(_RTM_NEWADDR, flags, index, address)
                if self._link(index, b"", address).running:
                    _wait_for_local_route(self._news, interface.ip.packed)
            finally:
                self._news.setsockopt(_SOL_NETLINK, _NETLINK_DROP_MEMBERSHIP, _RTNLGRP_IPV6_ROUTE)
                _discard(self._news)
        except FileExistsError:
            return False
        return True

    def remove_address(self, index: int, address: str) -> None:
        """Take away what `add_address` gave."""
        self._change_address(_RTM_DELADDR, _NLM_F_ACK, index, address)

    def _change_address(self, kind: int, flags: int, index: int, address: str) -> None:
        interface = ipaddress.ip_interface(address)
        family = socket.AF_INET if interface.version == 4 else socket.AF_INET6
        packed = interface.ip.packed
        body = struct.pack("=BBBBI", family, interface.network.prefixlen, 0, _RT_SCOPE_UNIVERSE, index)
        body += _attribute(_IFA_LOCAL, packed) + _attribute(_IFA_ADDRESS, packed)
        if interface.version == 6:
            body += _attribute(_IFA_FLAGS, struct.pack("=I", _IFA_F_NODAD))
        self._request(kind, flags, body, f"address {address}")

    def add_route(self, index: int, prefix: str, gateway: str = "") -> bool:
        """Route a network ("10.9.0.0/16", "default" forms "0.0.0.0/0" and "::/0") to the device, through the gateway
        if there is one; False where the route was there already.
        """
        try:
            self._change_route(_RTM_NEWROUTE, _NLM_F_ACK | _NLM_F_CREATE | _NLM_F_EXCL, index, prefix, gateway)
        except FileExistsError:
            return False
        return True

    def remove_route(self, index: int, prefix: str, gateway: str = "") -> None:
        """Take away what `add_route` gave."""
        self._change_route(_RTM_DELROUTE, _NLM_F_ACK, index, prefix, gateway)

    def _change_route(self, kind: int, flags: int, index: int, prefix: str, gateway: str) -> None:
        network = ipaddress.ip_network(prefix)
        family = socket.AF_INET if network.version == 4 else socket.AF_INET6
        scope = _RT_SCOPE_LINK if network.version == 4 and not gateway else _RT_SCOPE_UNIVERSE
        body = struct.pack(
            "=BBBBBBBBI", family, network.prefixlen, 0, 0, _RT_TABLE_MAIN, _RTPROT_STATIC, scope, _RTN_UNICAST, 0
        )
        body += _attribute(_RTA_DST, network.network_address.packed) + _attribute(_RTA_OIF, struct.pack("=I", index))
        if gateway:
            via = ipaddress.ip_address(gateway)
            if via.version != network.version:
                raise ValueError(f"route to {prefix}: the gateway {gateway} is of the other family")
            body += _attribute(_RTA_GATEWAY, via.packed)
        self._request(kind, flags, body, f"route {prefix}")

    def _request(self, kind: int, flags: int, body: bytes, what: str) -> bytes:
        """The body of the answer: of the message asked for, or b"" for an acknowledgement."""
        self._sequence += 1
        header = _HEADER.pack(_HEADER.size + len(body), kind, flags | _NLM_F_REQUEST, self._sequence, 0)
        self._socket.send(header + body)
        while True:
            answer = self._socket.recv(65536)
            length, answer_kind, answer_flags, sequence, _ = _HEADER.unpack_from(answer)
            if sequence != self._sequence:
                continue
            if answer_kind != _NLMSG_ERROR:
                return answer[_HEADER.size : length]
            code = -struct.unpack_from("=i", answer, _HEADER.size)[0]
            if code == 0:
                return b""
            words = os.strerror(code)
            if answer_flags & _NLM_F_ACK_TLVS:
                # The request's header stands between the code and the attributes (NETLINK_CAP_ACK keeps its body
                # off).
                told = _attributes(answer[_HEADER.size + 4 + _HEADER.size : length]).get(1)
                if told:
                    words += f" ({told.rstrip(bytes(1)).decode(errors='replace')})"
            raise OSError(code, f"{what}: {words}")
