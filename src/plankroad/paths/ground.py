"""Two kernels' ends of a path, from the outside: processes in network namespaces of their own, and their devices.

    with KernelGround() as ground:
        ground.left.fd, ground.right.fd  # TUN: what a kernel sends can be read, what is written reaches it

Nothing of the machine's own network is touched, and nothing has to be tidied up: a namespace ends with its process,
and that with this one.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, Final

from plankroad.paths.namespace import Channel

LEFT: Final = "10.78.0.1"
RIGHT: Final = "10.78.0.2"
_PREFIX: Final = 24

#: Seconds that setting up or answering may take.
_LIMIT: Final = 30.0

#: Packets that a device keeps while the emulator does something else: more than any window.
_QUEUE_LENGTH: Final = 20_000

#: The largest buffers that the kernel may give to a connection. It counts memory, about two bytes a byte of data.
_BUFFER: Final = 256 * 1024 * 1024

_SYSCTLS: Final[dict[str, str]] = {
    "ipv4/tcp_rmem": f"4096 131072 {_BUFFER}",
    "ipv4/tcp_wmem": f"4096 16384 {_BUFFER}",
    # A cell is not to profit from what the one before it learnt.
    "ipv4/tcp_no_metrics_save": "1",
    # The emulator carries IPv4; this keeps router solicitations and the like out of it.
    "ipv6/conf/all/disable_ipv6": "1",
    "ipv6/conf/default/disable_ipv6": "1",
}


class KernelError(OSError):
    """The kernel's end of a path cannot do what is asked; the text says what and why."""


def check_ground() -> None:
    """Raise `KernelError` where this machine or user cannot have kernels at the ends of a path."""
    if sys.platform != "linux":
        raise KernelError("comparing with Linux needs Linux: this is " + sys.platform)
    if os.geteuid() != 0:
        raise KernelError("comparing with Linux needs root, for network namespaces and TUN devices: run it with sudo")
    if not os.path.exists("/dev/net/tun"):
        raise KernelError(
            "comparing with Linux needs /dev/net/tun: load it with modprobe tun; "
            "give a container the device with --device /dev/net/tun"
        )


class KernelEnd:
    """One process, its namespace and its device, `fd`. `algorithms`: the congestion controls that its kernel has."""

    def __init__(self, address: str, peer: str, mtu: int, sysctls: dict[str, str]) -> None:
        self.address = address
        self.peer = peer
        self.fd = -1
        ours, theirs = socket.socketpair()
        ours.settimeout(_LIMIT)
        self.channel = Channel(ours)
        code = "from plankroad.paths.kernel_worker import main; main()"
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-c", code, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
        try:
            answer, fds = self.ask(
                {
                    "do": "setup",
                    "sysctls": {**_SYSCTLS, **sysctls},
                    "mtu": mtu,
                    "address": f"{address}/{_PREFIX}",
                    "queue_length": _QUEUE_LENGTH,
                }
            )
            (self.fd,) = fds
            os.set_blocking(self.fd, False)
            self.algorithms: list[str] = answer["algorithms"]
        except BaseException:
            self.close()
            raise

    def tell(self, order: dict[str, Any]) -> None:
        """Send an order; what it answers comes by `answer`."""
        self.channel.send(order)

    def answer(self) -> tuple[dict[str, Any], list[int]]:
        """Its next answer. Raises `KernelError` for an error there, or where the process has ended."""
        try:
            answer, fds = self.channel.receive()
        except (EOFError, ConnectionError):
            raise KernelError("a process at the kernel's end of the path has ended; what it said is above") from None
        except TimeoutError:
            raise KernelError("a process at the kernel's end of the path does not answer") from None
        if "error" in answer:
            raise KernelError(answer["errno"], f"at the kernel's end of the path: {answer['error']}")
        return answer, fds

    def ask(self, order: dict[str, Any]) -> tuple[dict[str, Any], list[int]]:
        """Both."""
        self.tell(order)
        return self.answer()

    def check(self, algorithms: Sequence[str]) -> None:
        """Raise `KernelError` for a congestion control that the kernel does not have."""
        for name in algorithms:
            if name not in self.algorithms:
                known = ", ".join(sorted(self.algorithms))
                raise KernelError(f"this kernel has no congestion control {name!r}; it has {known}")

    def send_flows(
        self, starts: Sequence[int], algorithms: Sequence[str], sample: int, common: dict[str, Any]
    ) -> None:
        """Order flows to the peer: when each starts, by which algorithm. `common`: the clock's `origin`, `until` when,
        how many `bytes`. `sample`: the time between two looks at their state, 0 for none.
        """
        order = {"do": "send", "starts": list(starts), "algorithms": list(algorithms), "sample": sample}
        self.tell({**order, "address": self.address, "peer": self.peer, **common})

    def close(self) -> None:
        """End the process, and with it all that it has made."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
        self.channel.sock.close()
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()


class KernelGround:
    """The two ends, `left` the sender's and `right` the receiver's."""

    def __init__(self, mtu: int = 1500, sysctls: dict[str, str] | None = None) -> None:
        check_ground()
        self.left = KernelEnd(LEFT, RIGHT, mtu, sysctls or {})
        try:
            self.right = KernelEnd(RIGHT, LEFT, mtu, sysctls or {})
        except BaseException:
            self.left.close()
            raise

    def __enter__(self) -> KernelGround:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End all that was made."""
        self.left.close()
        self.right.close()
