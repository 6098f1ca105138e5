"""Network namespaces for tests against the Linux kernel.

    with namespace() as ns:
        link = ns.open_tun(kernel_address="10.0.0.1/24")     # a TunLink whose device is inside
        server = ns.start("python3", "-m", "http.server")    # a process inside
        server.wait_for("Serving HTTP")
        client = ns.socket(socket.AF_INET, socket.SOCK_STREAM)  # a kernel socket inside, used from here

Whatever happens in the block, afterwards its processes have ended, its devices are gone and so is the namespace.
Nothing here sleeps: each wait is for an event and has a limit in seconds, after which it raises TimeoutError.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import re
import select
import signal
import socket
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from plankroad.link.base import Link
from plankroad.link.tap import TapLink
from plankroad.link.tun import TunLink
from plankroad.wire.packet import Packet

#: Seconds that a wait lasts at most where the caller does not say.
LIMIT = 10.0

_CLONE_NEWNET = 0x40000000
_NAME = re.compile(r"plankroad-(\d+)-\d+$")
_numbers = itertools.count(1)

P = ParamSpec("P")
T = TypeVar("T")


def _ip(*arguments: str) -> str:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, timeout=LIMIT, check=False)
    if done.returncode:
        raise OSError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


class Process:
    """A process in a namespace. `output` is what has been read of its standard output and error so far."""

    def __init__(self, popen: subprocess.Popen[bytes]) -> None:
        self.popen = popen
        self.pid = popen.pid
        self._output = bytearray()

    @property
    def output(self) -> str:
        return self._output.decode(errors="replace")

    def write(self, data: bytes) -> None:
        """To its standard input."""
        assert self.popen.stdin is not None
        self.popen.stdin.write(data)
        self.popen.stdin.flush()

    def _read_some(self, deadline: float) -> bool:
        """Read what there is; False at the end of its output."""
        assert self.popen.stdout is not None
        fd = self.popen.stdout.fileno()
        if not select.select([fd], [], [], max(0.0, deadline - time.monotonic()))[0]:
            raise TimeoutError(f"{self.popen.args!r} took too long; it said: {self.output}")
        data = os.read(fd, 65536)
        self._output += data
        return bool(data)

    def wait_for(self, text: str, limit: float = LIMIT) -> str:
        """All output, once `text` is in it. Raises EOFError where the process closes its output before."""
        deadline = time.monotonic() + limit
        while text not in self.output:
            if not self._read_some(deadline):
                raise EOFError(f"{self.popen.args!r} ended without saying {text!r}; it said: {self.output}")
        return self.output

    def wait(self, limit: float = LIMIT) -> int:
        """Its exit status, once it has ended; its output has been read to the end then."""
        deadline = time.monotonic() + limit
        while self._read_some(deadline):
            pass
        return self.popen.wait(max(0.1, deadline - time.monotonic()))

    def signal(self, number: int) -> None:
        self.popen.send_signal(number)

    def stop(self) -> None:
        """Kill it and all that it started, if that still runs."""
        # Its session is its own, so its group has the same number. Unreaped, the number cannot be another's by now.
        if self.popen.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        self.popen.wait(LIMIT)
        for stream in (self.popen.stdin, self.popen.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()


class Namespace:
    """A network namespace of our own, with loopback up. Make it with `namespace`."""

    def __init__(self) -> None:
        self.name = f"plankroad-{os.getpid()}-{next(_numbers)}"
        self._links: list[Link] = []
        self._sockets: list[socket.socket] = []
        self._processes: list[Process] = []
        _ip("netns", "add", self.name)
        self._fd = os.open(f"/run/netns/{self.name}", os.O_RDONLY | os.O_CLOEXEC)
        # One thread that lives inside: what it opens belongs to the namespace, wherever it is used.
        self._inside = ThreadPoolExecutor(1, thread_name_prefix=self.name, initializer=self._enter)
        try:
            # Addresses are usable at once: nobody waits for duplicate address detection.
            for scope in ("all", "default"):
                self.sysctl(f"net/ipv6/conf/{scope}/accept_dad", "0")
                self.sysctl(f"net/ipv6/conf/{scope}/router_solicitations", "0")
            self.run("ip", "link", "set", "lo", "up")
        except BaseException:
            self.close()
            raise

    def _enter(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(self._fd, _CLONE_NEWNET):
            code = ctypes.get_errno()
            raise OSError(code, f"setns: {os.strerror(code)}")

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`function` called by a thread inside; what it opens stays inside. It must not block for long."""
        return self._inside.submit(function, *args, **kwargs).result(LIMIT)

    def sysctl(self, key: str, value: str) -> None:
        """Set "net/ipv4/tcp_sack" and the like, inside."""
        self.call(Path("/proc/sys", key).write_text, value)

    def open_tun(self, *args: Any, **kwargs: Any) -> TunLink:
        """`TunLink.open`, its device inside. Closed with the namespace."""
        link = self.call(TunLink.open, *args, **kwargs)
        self._links.append(link)
        return link

    def open_tap(self, *args: Any, **kwargs: Any) -> TapLink:
        """`TapLink.open`, its device inside. Closed with the namespace."""
        link = self.call(TapLink.open, *args, **kwargs)
        self._links.append(link)
        return link

    def socket(
        self, family: int = socket.AF_INET, kind: int = socket.SOCK_STREAM, protocol: int = 0
    ) -> socket.socket:
        """A kernel socket inside, with a time-out; for any use from outside. Closed with the namespace."""
        made = self.call(socket.socket, family, kind, protocol)
        made.settimeout(LIMIT)
        self._sockets.append(made)
        return made

    def run(self, *argv: str, limit: float = LIMIT, check: bool = True, stdin: bytes = b"") -> str:
        """The output of a command run to its end inside. Raises AssertionError where it fails and `check` is set."""
        process = self.start(*argv)
        try:
            if stdin:
                process.write(stdin)
            assert process.popen.stdin is not None
            process.popen.stdin.close()
            status = process.wait(limit)
        finally:
            process.stop()
            self._processes.remove(process)
        assert not check or status == 0, f"{' '.join(argv)}: exit status {status}; it said: {process.output}"
        return process.output

    def start(self, *argv: str, env: dict[str, str] | None = None) -> Process:
        """A command started inside, standard error in its output. Killed with the namespace."""
        popen = subprocess.Popen(
            ["ip", "netns", "exec", self.name, *argv],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
            env=None if env is None else {**os.environ, **env},
            start_new_session=True,
        )
        process = Process(popen)
        self._processes.append(process)
        return process

    def close(self) -> None:
        """End all that was started, close all that was opened, remove the namespace."""
        with contextlib.ExitStack() as stack:
            # Run in reverse order, each whatever became of the others.
            stack.callback(_ip, "netns", "del", self.name)
            stack.callback(os.close, self._fd)
            stack.callback(self._inside.shutdown)
            stack.callback(self._kill_leftovers)
            for link in self._links:
                stack.callback(link.close)
            for made in self._sockets:
                stack.callback(made.close)
            for process in self._processes:
                stack.callback(process.stop)

    def _kill_leftovers(self) -> None:
        """Daemons that left their group are still inside: the namespace's list has them."""
        for pid in map(int, _ip("netns", "pids", self.name).split()):
            # Held open, the descriptor stands for this very process even if it ends and its number is used again.
            with contextlib.suppress(ProcessLookupError):
                handle = os.pidfd_open(pid)
                try:
                    if pid in map(int, _ip("netns", "pids", self.name).split()):
                        signal.pidfd_send_signal(handle, signal.SIGKILL)
                        wait_readable(handle)
                finally:
                    os.close(handle)


@contextlib.contextmanager
def namespace() -> Iterator[Namespace]:
    """A namespace of its own for the block; needs root."""
    remove_stale()
    made = Namespace()
    try:
        yield made
    finally:
        made.close()


def remove_stale() -> list[str]:
    """Remove namespaces of test runs that were killed: those whose maker's process is no more. Their names."""
    removed = []
    for line in _ip("netns", "list").splitlines():
        name = line.split()[0]
        match = _NAME.match(name)
        if match and not Path("/proc", match[1]).exists():
            # Another run may have been faster.
            with contextlib.suppress(OSError):
                _ip("netns", "del", name)
                removed.append(name)
    return removed


def wait_readable(what: int | Link | socket.socket, limit: float = LIMIT) -> None:
    """Return once a descriptor is readable."""
    if not select.select([what], [], [], limit)[0]:
        raise TimeoutError(f"{what!r}: nothing to read within {limit} s")


class Inbox:
    """What a link receives, packet by packet, for a test that has no stack on it."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self._waiting: deque[Packet] = deque()

    def next(self, wanted: Callable[[Packet], bool], limit: float = LIMIT) -> Packet:
        """The next packet that is `wanted`; others before it (IPv6's own chatter, say) are passed over."""
        deadline = time.monotonic() + limit
        while True:
            while self._waiting:
                packet = self._waiting.popleft()
                if wanted(packet):
                    return packet
            self._waiting.extend(self.link.receive())
            if not self._waiting:
                wait_readable(self.link, max(0.0, deadline - time.monotonic()))
            elif time.monotonic() > deadline:
                raise TimeoutError(f"{self.link.name}: other packets only within {limit} s")
