"""Reading and writing a TUN or TAP device: what `tun` and `tap` have in common."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
from collections import deque
from collections.abc import Sequence
from typing import Final, Self

from plankroad.link import tunctl
from plankroad.link.base import ETHERNET_OVERHEAD, Link
from plankroad.link.coalesce import coalesce
from plankroad.link.netlink import RouteSocket
from plankroad.link.segmentation import segment
from plankroad.link.vnet import PLAIN, VNET_SIZE, decode_header, encode
from plankroad.wire.constants import IPV6_MIN_MTU
from plankroad.wire.errors import BadPacket
from plankroad.wire.packet import GSO_UDP_L4, Packet

logger = logging.getLogger("plankroad.link")

#: The largest IP packet, and with it the largest super-segment of a kernel that was not told of larger ones.
MAX_IP_PACKET: Final = 65535

#: One read takes any packet there is, after its virtio-net header. Reading at most this much into a new object costs
#: less than a vectored read into a kept buffer and a copy out of it: the rest of the object is given back untouched.
_READ_SIZE: Final = VNET_SIZE + ETHERNET_OVERHEAD + MAX_IP_PACKET

#: Virtio-net headers whose meaning is kept, each way.
_MAX_KNOWN: Final = 256

#: These lose a packet: the kernel has no memory, the device is down (EIO) or gone, the link is closed (EBADF).
_LOST: Final = (errno.ENOBUFS, errno.ENOMEM, errno.EIO, errno.EBADFD, errno.ENODEV, errno.ENETDOWN, errno.EBADF)
_GONE: Final = (errno.EBADFD, errno.ENODEV, errno.EBADF, errno.ENXIO)


class DeviceLink(Link):
    """A link on a packet descriptor: each read and write is one packet, after a virtio-net header if `vnet_header`.

    It takes super-segments in any case: where the kernel does not cut them, it does. A super-segment costs the stack
    as much as one segment, so cutting late is worth it (half as much again to the second, measured). Who wants none
    sets `gso_max_size` to 0 before the stack sees the link.

    `created`: the device was made by `open` and vanishes on `close`. `offloads`: the `TUN_F_` bits (`link.tunctl`)
    the kernel took: what it may hand us unfinished. `udp_segmentation`: it takes UDP super-segments. `batch_packets`
    and `batch_bytes` bound one `receive`. `join`: received batches go through `link.coalesce.coalesce`.
    """

    kind: int = 0  # IFF_TUN or IFF_TAP

    def __init__(
        self,
        fd: int,
        name: str,
        mtu: int,
        *,
        ethernet: bool = False,
        mac: bytes = b"",
        vnet_header: bool = False,
        offloads: int = 0,
        udp_segmentation: bool = False,
        join: bool = False,
        batch_packets: int = 64,
        batch_bytes: int = 1 << 20,
    ) -> None:
        super().__init__(
            name,
            mtu,
            ethernet=ethernet,
            mac=mac,
            tx_csum=True,
            gso_max_size=MAX_IP_PACKET,
        )
        if mtu < 1 or batch_packets < 1 or batch_bytes < 1:
            raise ValueError("mtu, batch_packets and batch_bytes must be at least 1")
        self.created = False
        self.offloads = offloads
        self.vnet_header = vnet_header
        self.udp_segmentation = udp_segmentation
        self.join = join
        self.batch_packets = batch_packets
        self.batch_bytes = batch_bytes
        self._fd = fd
        self._known: dict[bytes, tuple[int, int, int, int, bool]] = {}
        self._headers: dict[int, bytes] = {}
        self._unsent: deque[Packet] = deque()
        self._unsent_of: Packet | None = None
        self._routes: RouteSocket | None = None
        self._index = 0
        self._persistent = True
        self._added: list[tuple[str, str, str]] = []

    # Setting up

    @classmethod
    def _open(
        cls,
        name: str,
        *,
        mtu: int,
        kernel_address: str | Sequence[str],
        kernel_routes: Sequence[str],
        kernel_mac: bytes,
        mac: bytes,
        offload: bool,
        persistent: bool,
        up: bool,
        join: bool | None,
        batch_packets: int,
        batch_bytes: int,
    ) -> Self:
        tunctl.check_name(name)
        kernel_addresses = (kernel_address,) if isinstance(kernel_address, str) else tuple(kernel_address)
        if 0 < mtu < IPV6_MIN_MTU and any(":" in one for one in kernel_addresses):
            raise ValueError(f"IPv6 needs an MTU of at least {IPV6_MIN_MTU} (RFC 8200 section 5), not {mtu}")
        routes = RouteSocket()
        fd = -1
        link: Self | None = None
        try:
            existed = bool(name) and routes.link(name) is not None
            fd, name, vnet_header = tunctl.open_device(name, cls.kind, offload)
            offloads = tunctl.agree(fd) if vnet_header else 0
            if not vnet_header:
                tunctl.forget_offloads(fd)
            info = routes.link(name)
            if info is None:
                raise OSError(errno.ENODEV, "the device went away while it was set up", name)
            link = cls(
                fd,
                name,
                info.mtu,
                ethernet=cls.kind == tunctl.IFF_TAP,
                mac=mac,
                vnet_header=vnet_header,
                offloads=offloads,
                udp_segmentation=bool(offloads & tunctl.TUN_F_USO4),
                join=not vnet_header if join is None else join,
                batch_packets=batch_packets,
                batch_bytes=batch_bytes,
            )
            link.created = not existed
            link._routes = routes
            link._index = info.index
            link._persistent = existed or persistent
            if persistent and not existed:
                tunctl.set_persistent(fd, True)
            if kernel_mac:
                link._configure(f"ip link set {name} address {kernel_mac.hex(':')}", "mac", kernel_mac.hex())
            if mtu and mtu != info.mtu:
                link.set_mtu(mtu)
            if up and not info.up:
                link.set_up(True)
            for address in kernel_addresses:
                if address:
                    link.add_kernel_address(address)
            for route in kernel_routes:
                link.add_kernel_route(route)
        except BaseException:
            if link is not None:
                if persistent and link.created:
                    with contextlib.suppress(OSError):
                        tunctl.set_persistent(fd, False)
                link.close()
            elif fd >= 0:
                os.close(fd)
            routes.close()
            raise
        if offload and not vnet_header:
            logger.warning(
                "%s: this kernel has no virtio-net headers for TUN; super-segments are cut in software", name
            )
        elif offload and offloads != tunctl.OFFLOAD_STEPS[0]:
            logger.info("%s: the kernel took the offloads %s", name, tunctl.offload_names(offloads))
        return link

    @classmethod
    def _from_fd(cls, fd: int, mtu: int, mac: bytes) -> Self:
        name, flags = tunctl.device_of(fd)
        if flags & (tunctl.IFF_TUN | tunctl.IFF_TAP) != cls.kind:
            raise ValueError(f"descriptor {fd} is attached to {name}, a device of the other kind (TUN, TAP)")
        vnet_header = bool(flags & tunctl.IFF_VNET_HDR)
        os.set_blocking(fd, False)
        offloads = tunctl.agree(fd) if vnet_header else 0
        if not mtu:
            routes = RouteSocket()
            try:
                info = routes.link(name)
            finally:
                routes.close()
            if info is None:
                raise ValueError(f"{name} is not in this network namespace; say its mtu")
            mtu = info.mtu
        return cls(
            fd,
            name,
            mtu,
            ethernet=cls.kind == tunctl.IFF_TAP,
            mac=mac,
            vnet_header=vnet_header,
            offloads=offloads,
            udp_segmentation=bool(offloads & tunctl.TUN_F_USO4),
            join=not vnet_header,
        )

    def _configure(self, command: str, what: str, value: str, gateway: str = "") -> None:
        """One setting by rtnetlink; `command` is what a person would type for it."""
        routes = self._routes
        if routes is None:
            raise OSError(
                errno.EOPNOTSUPP, f"this link was not made by open, so it can set up no device; do: {command}"
            )
        try:
            if what == "mtu":
                routes.set_mtu(self._index, int(value))
            elif what == "up":
                routes.set_up(self._index, value == "up")
            elif what == "mac":
                routes.set_mac(self._index, bytes.fromhex(value))
            elif what == "address":
                if routes.add_address(self._index, value):
                    self._added.append((what, value, ""))
            elif routes.add_route(self._index, value, gateway):
                self._added.append((what, value, gateway))
        except OSError as error:
            if error.errno in (errno.EPERM, errno.EACCES):
                text = f"setting up the device needs root or CAP_NET_ADMIN; or let root do: {command}"
                raise PermissionError(error.errno, text, self.name) from None
            raise OSError(error.errno, f"{self.name}: {error.strerror}") from None

    def set_mtu(self, mtu: int) -> None:
        """Set the MTU, in bytes of the IP packet, at the kernel's end too."""
        self._configure(f"ip link set {self.name} mtu {mtu}", "mtu", str(mtu))
        self.mtu = mtu

    def set_up(self, up: bool) -> None:
        """Take the device up or down; while it is down, packets are lost both ways."""
        state = "up" if up else "down"
        self._configure(f"ip link set {self.name} {state}", "up", state)

    def add_kernel_address(self, address: str) -> None:
        """Give the kernel's end an address with its prefix: "10.0.0.1/24", "fd00::1/64"."""
        self._configure(f"ip addr add {address} dev {self.name}", "address", address)

    def add_kernel_route(self, prefix: str, gateway: str = "") -> None:
        """Make the kernel route a network to this link, "10.9.0.0/16"; on TAP mostly through a gateway."""
        via = f" via {gateway}" if gateway else ""
        self._configure(f"ip route add {prefix}{via} dev {self.name}", "route", prefix, gateway)

    # The two ways

    def fileno(self) -> int:
        return self._fd

    def receive(self) -> list[Packet]:
        batch: list[Packet] = []
        fd = self._fd
        if fd < 0:
            return batch
        read = os.read
        overhead = VNET_SIZE if self.vnet_header else 0
        counters = self.counters
        size = 0
        for _ in range(self.batch_packets):
            try:
                data = read(fd, _READ_SIZE)
            except BlockingIOError:
                break
            except OSError as error:
                if batch:
                    break
                if error.errno in _GONE:
                    raise OSError(errno.ENODEV, f"{self.name}: the device has gone") from None
                raise
            if not data:
                # The end of a packet socket: whoever had the device for us has closed it.
                if batch:
                    break
                raise OSError(errno.ENODEV, f"{self.name}: the other end has gone")
            if overhead:
                try:
                    packet = self._decode(data)
                except BadPacket:
                    counters.rx_errors += 1
                    continue
                size += len(packet.head)
                if packet.gso_type:
                    counters.rx_super_segments += 1
                    if packet.gso_type == GSO_UDP_L4:
                        self._split_datagrams(packet, batch)
                    else:
                        batch.append(packet)
                else:
                    batch.append(packet)
            else:
                size += len(data)
                batch.append(Packet(data))
            if size >= self.batch_bytes:
                break
        if batch:
            counters.rx_batches += 1
            counters.rx_packets += len(batch)
            counters.rx_bytes += size
            if self.join:
                return coalesce(batch, self.ethernet)
        return batch

    def _decode(self, data: bytes) -> Packet:
        """`vnet.decode`, its work done once for each header that is met."""
        header = data[:VNET_SIZE]
        known = self._known.get(header)
        if known is None:
            if len(data) < VNET_SIZE:
                raise BadPacket("virtio-net header is truncated")
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            known = self._known[header] = decode_header(header)
        gso_type, gso_size, start, offset, valid = known
        if start and VNET_SIZE + start + offset + 2 > len(data):
            raise BadPacket("virtio-net header whose checksum field is outside of the packet")
        return Packet(data[VNET_SIZE:], b"", 0, gso_type, gso_size, start, offset, valid)

    def _split_datagrams(self, packet: Packet, batch: list[Packet]) -> None:
        """Datagrams keep their bounds, so a stack has no use for them in one piece."""
        try:
            parts = segment(packet, self.ethernet, True)
        except BadPacket:
            self.counters.rx_errors += 1
            return
        for part in parts:
            # A received packet has all of its bytes in its head.
            part.head, part.payload = part.to_bytes(), b""
            batch.append(part)

    def send(self, packet: Packet) -> bool:
        if self._unsent:
            # What is left of a super-segment that was cut goes first.
            if not self._send_parts():
                self.counters.tx_refused += 1
                return False
            resumed = packet is self._unsent_of
            self._unsent_of = None
            if resumed:
                return True
        if packet.gso_type:
            done = self._write(packet) if self._takes(packet) else self._send_cut(packet)
        elif packet.csum_start and not self.vnet_header:
            done = self._send_cut(packet)
        else:
            done = self._write(packet)
        if not done:
            self.counters.tx_refused += 1
        return done

    def _takes(self, packet: Packet) -> bool:
        """Whether the kernel can cut this super-segment."""
        start = packet.csum_start
        if not self.vnet_header or start == 0:
            return False
        if packet.gso_type == GSO_UDP_L4:
            if not self.udp_segmentation or len(packet.head) < start + 8:
                return False
        elif len(packet.head) < start + 20:
            return False
        return len(packet) <= self.gso_max_size + (ETHERNET_OVERHEAD if self.ethernet else 0)

    def _send_cut(self, packet: Packet) -> bool:
        """Cut and complete in software what the kernel does not, and send the parts; False when it got stuck."""
        counters = self.counters
        try:
            self._unsent.extend(segment(packet, self.ethernet, self.vnet_header))
        except ValueError:
            counters.tx_errors += 1
            return True
        if packet.gso_type:
            counters.tx_cut += 1
        if not self.vnet_header:
            counters.tx_completed += len(self._unsent)
        if self._send_parts():
            return True
        self._unsent_of = packet
        return False

    def _send_parts(self) -> bool:
        unsent = self._unsent
        while unsent:
            if not self._write(unsent[0]):
                return False
            unsent.popleft()
        return True

    def _write(self, packet: Packet) -> bool:
        """Hand one packet to the kernel; False where it has no room now."""
        counters = self.counters
        head = packet.head
        payload = packet.payload
        try:
            if self.vnet_header:
                header = self._encode(packet) if packet.csum_start else PLAIN
                if payload:
                    os.writev(self._fd, (header, head, payload))
                else:
                    os.write(self._fd, header + head)
            elif payload:
                os.writev(self._fd, (head, payload))
            else:
                os.write(self._fd, head)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno == errno.EINVAL and packet.gso_type:
                # The kernel does not know this kind of super-segment, or will not have this one.
                return self._send_cut(packet)
            if error.errno in _LOST:
                counters.tx_dropped += 1
            else:
                counters.tx_errors += 1
            return True
        counters.tx_packets += 1
        counters.tx_bytes += len(head) + len(payload)
        if packet.gso_type:
            counters.tx_super_segments += 1
        return True

    def _encode(self, packet: Packet) -> bytes:
        """`vnet.encode`, its work done once for each place of a checksum."""
        if packet.gso_type:
            return encode(packet)
        key = packet.csum_start << 16 | packet.csum_offset
        header = self._headers.get(key)
        if header is None:
            if len(self._headers) >= _MAX_KNOWN:
                self._headers.clear()
            header = self._headers[key] = encode(packet)
        return header

    # The end

    def close(self) -> None:
        """Close the descriptor: a device that `open` made goes with it, unless it was to be persistent. What was set
        up on a device that stays, its addresses and routes, is taken away again.
        """
        fd = self._fd
        self._fd = -1
        if fd < 0:
            return
        routes = self._routes
        self._routes = None
        if routes is not None:
            if self._persistent:
                tunctl.forget_offloads(fd)
                for what, value, gateway in reversed(self._added):
                    with contextlib.suppress(OSError):
                        if what == "address":
                            routes.remove_address(self._index, value)
                        else:
                            routes.remove_route(self._index, value, gateway)
            routes.close()
        os.close(fd)
        self._unsent.clear()
        self._unsent_of = None
