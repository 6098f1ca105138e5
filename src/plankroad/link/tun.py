"""`TunLink`: IP packets to and from the Linux kernel through a TUN device."""

from __future__ import annotations

from collections.abc import Sequence

from plankroad.link import tunctl
from plankroad.link.device import DeviceLink


class TunLink(DeviceLink):
    """A TUN device: on one side the kernel with addresses of its own, on the other the stack.

    With offloads (a kernel with virtio-net headers, any since 2.6.27) packets come and go as super-segments of up to
    64 KiB with partial checksums; without, each is cut and completed here, and what the kernel sees is the same.
    """

    kind = tunctl.IFF_TUN

    @classmethod
    def open(
        cls,
        name: str = "",
        *,
        mtu: int = 0,
        kernel_address: str | Sequence[str] = (),
        kernel_routes: Sequence[str] = (),
        offload: bool = True,
        persistent: bool = False,
        up: bool = True,
        join: bool | None = None,
        batch_packets: int = 64,
        batch_bytes: int = 1 << 20,
    ) -> TunLink:
        """Attach to the device `name` if there is one, else make it; without a name the kernel numbers it, "tun0".

        `mtu`: of the IP packet, in bytes; 0 leaves it as it is (1500 for a new device).
        `kernel_address`: one or several addresses with their prefix for the kernel's end, "10.0.0.1/24" or
        "fd00::1/64"; the kernel then finds the rest of that network, the stack included, on this link.
        `kernel_routes`: further networks behind the stack.
        `offload`: use virtio-net headers where the kernel has them. `join`: make super-segments of received segments
        in software; by default only without offloads.
        `persistent`: a device made here stays after `close`. Addresses and routes given here do not, on any device.
        `up`: take the device up.

        Raises ValueError for an impossible name or address, FileNotFoundError where the kernel has no TUN,
        PermissionError without root or CAP_NET_ADMIN (attaching to a device that root made for this user and set up
        needs neither), OSError (EBUSY) where another process has it; each says what to do.
        """
        return cls._open(
            name,
            mtu=mtu,
            kernel_address=kernel_address,
            kernel_routes=kernel_routes,
            kernel_mac=b"",
            mac=b"",
            offload=offload,
            persistent=persistent,
            up=up,
            join=join,
            batch_packets=batch_packets,
            batch_bytes=batch_bytes,
        )

    @classmethod
    def from_fd(cls, fd: int, *, mtu: int = 0) -> TunLink:
        """A link on a descriptor that somebody with the rights has opened and attached, with IFF_NO_PI, and passed
        on.

        The link owns `fd` from now on. The MTU is the device's if that is in this process's network namespace, else
        `mtu` has to tell. Raises ValueError where `fd` is no such descriptor.
        """
        return cls._from_fd(fd, mtu, b"")
