"""`TapLink`: Ethernet frames to and from the Linux kernel through a TAP device."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence

from plankroad.link import tunctl
from plankroad.link.device import DeviceLink


def local_mac(rng: random.Random | None = None) -> bytes:
    """A random MAC: locally administered, not a group's (IEEE 802: bit 1 of the first byte set, bit 0 clear)."""
    data = os.urandom(6) if rng is None else rng.randbytes(6)
    return bytes((data[0] & 0xFC | 0x02,)) + data[1:]


class TapLink(DeviceLink):
    """A TAP device: an Ethernet of two, the kernel with a MAC and addresses of its own, and the stack.

    Offloads as with `TunLink`; `csum_start` counts from the start of the frame.
    """

    kind = tunctl.IFF_TAP

    @classmethod
    def open(
        cls,
        name: str = "",
        *,
        mac: bytes = b"",
        rng: random.Random | None = None,
        kernel_mac: bytes = b"",
        mtu: int = 0,
        kernel_address: str | Sequence[str] = (),
        kernel_routes: Sequence[str] = (),
        offload: bool = True,
        persistent: bool = False,
        up: bool = True,
        join: bool | None = None,
        batch_packets: int = 64,
        batch_bytes: int = 1 << 20,
    ) -> TapLink:
        """As `TunLink.open`, and: `mac` is the stack's 6-byte address, by default a locally administered one from
        `rng` (from the operating system's randomness without one); `kernel_mac` sets that of the kernel's end.
        """
        for given in (mac, kernel_mac):
            if given and (len(given) != 6 or given[0] & 1):
                raise ValueError(f"{given.hex(':')} is no MAC of one station: 6 bytes, the first one even")
        return cls._open(
            name,
            mtu=mtu,
            kernel_address=kernel_address,
            kernel_routes=kernel_routes,
            kernel_mac=kernel_mac,
            mac=mac or local_mac(rng),
            offload=offload,
            persistent=persistent,
            up=up,
            join=join,
            batch_packets=batch_packets,
            batch_bytes=batch_bytes,
        )

    @classmethod
    def from_fd(cls, fd: int, *, mtu: int = 0, mac: bytes = b"", rng: random.Random | None = None) -> TapLink:
        """As `TunLink.from_fd`, with the stack's MAC as in `open`."""
        return cls._from_fd(fd, mtu, mac or local_mac(rng))
