"""Opening /dev/net/tun: attach to a device or make one, and agree with the kernel on offloads.

Linux, Documentation/networking/tuntap.rst and include/uapi/linux/if_tun.h.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
from typing import Final

from plankroad.link.vnet import VNET_SIZE

DEVICE: Final = "/dev/net/tun"

IFF_TUN: Final = 0x0001
IFF_TAP: Final = 0x0002
IFF_NO_PI: Final = 0x1000
IFF_VNET_HDR: Final = 0x4000

TUNGETFEATURES: Final = 0x800454CF
TUNSETIFF: Final = 0x400454CA
TUNSETPERSIST: Final = 0x400454CB
TUNSETOFFLOAD: Final = 0x400454D0
TUNGETIFF: Final = 0x800454D2
TUNSETVNETHDRSZ: Final = 0x400454D8

TUN_F_CSUM: Final = 0x01
TUN_F_TSO4: Final = 0x02
TUN_F_TSO6: Final = 0x04
TUN_F_TSO_ECN: Final = 0x08
TUN_F_USO4: Final = 0x20
TUN_F_USO6: Final = 0x40

_TSO: Final = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6
_USO: Final = TUN_F_USO4 | TUN_F_USO6

#: What is asked of the kernel, best first. USO needs Linux 6.2; it is both families or none.
OFFLOAD_STEPS: Final = (
    _TSO | TUN_F_TSO_ECN | _USO,
    _TSO | TUN_F_TSO_ECN,
    _TSO,
    TUN_F_CSUM | TUN_F_TSO4,
    TUN_F_CSUM,
    0,
)

_NAMES: Final = (
    (TUN_F_CSUM, "csum"),
    (TUN_F_TSO4, "tso4"),
    (TUN_F_TSO6, "tso6"),
    (TUN_F_TSO_ECN, "tso_ecn"),
    (TUN_F_USO4, "uso4"),
    (TUN_F_USO6, "uso6"),
)

#: struct ifreq: the name, then what is asked; 40 bytes on 64-bit machines.
_IFREQ: Final = struct.Struct("16sH22x")


def offload_names(offloads: int) -> str:
    """`TUN_F_` bits as text, "csum tso4 tso6", or "none"."""
    return " ".join(name for bit, name in _NAMES if offloads & bit) or "none"


def _needs_permission(name: str, kind: str) -> str:
    shown = name if name and "%" not in name else f"{kind}0"
    return (
        f"making or attaching to a {kind.upper()} device needs root or CAP_NET_ADMIN; or let root make one for you: "
        f"ip tuntap add dev {shown} mode {kind} user $USER && ip link set {shown} up (and name it here)"
    )


def check_name(name: str) -> None:
    """Raises ValueError for what cannot be the name of a device (Linux: dev_valid_name); "" can."""
    encoded = name.encode()
    if len(encoded) > 15 or name in (".", "..") or any(byte in b"/: \t\n\v\f\r\0" for byte in encoded):
        raise ValueError(f"{name!r} is no device name: at most 15 bytes, without spaces, slashes and colons")


def open_device(name: str, kind: int, vnet_header: bool) -> tuple[int, str, bool]:
    """A non-blocking descriptor of the device `name` (b"" or a pattern as "tun%d": the kernel chooses), the device's
    name, and whether packets have a virtio-net header, which needs `vnet_header` and a kernel that knows it.

    `kind` is `IFF_TUN` or `IFF_TAP`. Raises ValueError for an impossible name, PermissionError, FileNotFoundError or
    OSError with what can be done about it.
    """
    label = "tun" if kind == IFF_TUN else "tap"
    check_name(name)
    encoded = (name or f"{label}%d").encode()
    try:
        fd = os.open(DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except PermissionError as error:
        text = f"{_needs_permission(name, label)}; this file must be open to you too: chmod 666 {DEVICE}"
        raise PermissionError(error.errno, text, DEVICE) from None
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENODEV, errno.ENXIO, errno.ENOTDIR):
            text = "no TUN driver: load it with modprobe tun; give a container the device with --device /dev/net/tun"
            raise FileNotFoundError(errno.ENOENT, text, DEVICE) from None
        raise
    try:
        features = struct.unpack("=I", fcntl.ioctl(fd, TUNGETFEATURES, bytes(4)))[0]
        vnet_header = vnet_header and bool(features & IFF_VNET_HDR)
        flags = kind | IFF_NO_PI | (IFF_VNET_HDR if vnet_header else 0)
        answer = fcntl.ioctl(fd, TUNSETIFF, _IFREQ.pack(encoded, flags))
    except OSError as error:
        os.close(fd)
        if error.errno in (errno.EPERM, errno.EACCES):
            raise PermissionError(error.errno, _needs_permission(name, label), name or None) from None
        if error.errno == errno.EBUSY:
            raise OSError(error.errno, "the device is in use by another process", name) from None
        if error.errno == errno.EINVAL:
            text = f"there is a device of that name which is no {label.upper()} device, or a multi-queue one"
            raise OSError(error.errno, text, name) from None
        raise
    return fd, _IFREQ.unpack(answer)[0].rstrip(b"\0").decode(), vnet_header


def device_of(fd: int) -> tuple[str, int]:
    """The name and `IFF_` flags of the device that `fd` is attached to; ValueError where there is none."""
    try:
        name, flags = _IFREQ.unpack(fcntl.ioctl(fd, TUNGETIFF, bytes(_IFREQ.size)))
    except OSError as error:
        raise ValueError(f"descriptor {fd} is not attached to a TUN or TAP device: {error.strerror}") from None
    if not flags & IFF_NO_PI:
        raise ValueError(f"descriptor {fd} has packet information before each packet; attach it with IFF_NO_PI")
    return name.rstrip(b"\0").decode(), flags


def agree(fd: int) -> int:
    """Agree with the kernel on the virtio-net header's size, and on offloads: those of `OFFLOAD_STEPS` are offered,
    best first. The `TUN_F_` bits that it took.
    """
    fcntl.ioctl(fd, TUNSETVNETHDRSZ, struct.pack("=i", VNET_SIZE))
    for offloads in OFFLOAD_STEPS:
        try:
            fcntl.ioctl(fd, TUNSETOFFLOAD, offloads)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
        else:
            return offloads
    return 0


def set_persistent(fd: int, persistent: bool) -> None:
    """Whether the device outlives the descriptor."""
    fcntl.ioctl(fd, TUNSETPERSIST, int(persistent))


def forget_offloads(fd: int) -> None:
    """Leave a persistent device as one that is attached without offloads would find it."""
    with contextlib.suppress(OSError):
        fcntl.ioctl(fd, TUNSETOFFLOAD, 0)
