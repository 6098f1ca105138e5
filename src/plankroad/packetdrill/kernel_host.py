"""The kernel's side of `LinuxGround`: a process for each script, in a network namespace of its own.

`Nursery` starts one process, the mother, which forks a host for each script: that costs milliseconds, where starting
Python costs a second of a busy machine. A host makes a namespace with a TUN device, hands the device's descriptor over
and then does what it is told by messages, one JSON object each: system calls, each in a thread as it may block, and
commands. It ends when the other end of its channel is closed, and all that it has made ends with it.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from plankroad.link.netlink import RouteSocket
from plankroad.packetdrill.kernel_calls import CALLS, perform
from plankroad.paths.namespace import Channel, enter_namespace, open_device
from plankroad.testing.call import BadBuffer, SockName

DEVICE: Final = "tun0"
#: Packets that the device keeps while the script does something else.
_QUEUE_LENGTH: Final = 10_000
#: Calls that may wait at one time.
_THREADS: Final = 64
#: Above what else runs on a busy machine: a late packet is a wrong one.
PRIORITY: Final = 10

_SOCK_STREAM: Final = 1
_TCP_CONGESTION: Final = 13
_EPERM: Final = 1

#: Nothing but the script's own packets shall be on the device.
_SYSCTLS: Final[dict[str, str]] = {
    "ipv6/conf/all/accept_dad": "0",
    "ipv6/conf/default/accept_dad": "0",
    "ipv6/conf/all/accept_ra": "0",
    "ipv6/conf/default/accept_ra": "0",
    "ipv6/conf/default/router_solicitations": "0",
    "ipv6/conf/default/addr_gen_mode": "1",
}

_CONGESTION_KEY: Final = re.compile(r"net[./]ipv4[./]tcp_congestion_control\s*=\s*\"?'?(\w+)\"?'?")


def encode(value: Any) -> Any:
    """An argument or a result as JSON has it."""
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    if isinstance(value, SockName):
        return {"name": [value.family, value.address.hex(), value.port, value.scope]}
    if isinstance(value, BadBuffer):
        return {"bad": value.size}
    if isinstance(value, list | tuple):
        return [encode(one) for one in value]
    return value


def decode(value: Any) -> Any:
    """What `encode` made, tuples as lists."""
    if isinstance(value, list):
        return [decode(one) for one in value]
    if isinstance(value, dict):
        if "hex" in value:
            return bytes.fromhex(value["hex"])
        if "bad" in value:
            return BadBuffer(value["bad"])
        if "name" in value:
            family, address, port, scope = value["name"]
            return SockName(family, bytes.fromhex(address), port, scope)
    return value


class Host:
    """Answers one message after the other; calls are answered when they return, whatever came after them."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.lock = threading.Lock()
        self.threads = ThreadPoolExecutor(_THREADS)
        #: The congestion control of new sockets where the kernel does not let a namespace choose it.
        self.congestion = ""

    def answer(self, message: dict[str, Any], fds: tuple[int, ...] = ()) -> None:
        """Send a message; whoever asked may be gone."""
        with self.lock, contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.channel.send(message, fds)

    def setup(self, order: dict[str, Any]) -> None:
        """The namespace and its device; the device's descriptor goes with the answer."""
        enter_namespace({**_SYSCTLS, **order["sysctls"]})
        routes = RouteSocket()
        loopback = routes.link("lo")
        if loopback is not None:
            routes.set_up(loopback.index, True)
        fd, index = open_device(routes, DEVICE, order["mtu"], order["addresses"], _QUEUE_LENGTH)
        for prefix, gateway in order["routes"]:
            routes.add_route(index, prefix, gateway)
        routes.close()
        self._choose_congestion(order["congestion"])
        self.answer({"ready": True}, (fd,))
        os.close(fd)

    def _choose_congestion(self, name: str) -> bool:
        """Whether the kernel knows `name`; new sockets have it from now on."""
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            try:
                probe.setsockopt(socket.IPPROTO_TCP, _TCP_CONGESTION, name.encode())
            except OSError:
                return False
        self.congestion = name
        return True

    def call(self, order: dict[str, Any]) -> None:
        """A system call, answered when it returns. Runs in a thread."""
        kind, arguments = order["kind"], decode(order["arguments"])
        answer = perform(kind, arguments)
        answer["ended"] = time.monotonic_ns()
        if kind == "socket" and answer["value"] >= 0 and arguments[1] & 0xF == _SOCK_STREAM and self.congestion:
            perform("setsockopt", [answer["value"], socket.IPPROTO_TCP, _TCP_CONGESTION, self.congestion.encode()])
        self.answer({"id": order["id"], **{name: encode(value) for name, value in answer.items()}})

    def command(self, order: dict[str, Any]) -> None:
        """A shell's command line, run in the namespace."""
        text = order["text"]
        # A namespace may not choose an algorithm that the machine's administrator has not allowed to everyone; root's
        # sockets may.
        for name in _CONGESTION_KEY.findall(text):
            if not self._choose_congestion(name):
                self.answer({"status": 255, "output": f"this kernel has no congestion control {name!r}"})
                return
        text = _CONGESTION_KEY.sub("", text)
        if not re.fullmatch(r"\s*sysctl(\s+-[qw]+)*\s*", text):
            done = subprocess.run(
                ["/bin/sh", "-c", text],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=order["directory"],
                # By this name scripts find what belongs to one run.
                env={**os.environ, "PACKETDRILL_PID": str(os.getpid())},
                check=False,
            )
            self.answer({"status": done.returncode, "output": done.stdout.decode(errors="replace")})
            return
        self.answer({"status": 0, "output": ""})

    def serve(self) -> None:
        """Until the channel is closed."""
        while True:
            try:
                order, _ = self.channel.receive()
            except (EOFError, ConnectionError):
                return
            kind = order["do"]
            try:
                if kind == "setup":
                    self.setup(order)
                elif kind == "command":
                    self.command(order)
                elif order["kind"] in CALLS:
                    self.threads.submit(self.call, order)
                else:
                    self.answer({"error": f"the kernel's side knows no call {order['kind']!r}", "errno": 0})
            except OSError as error:
                self.answer({"error": str(error.strerror or error), "errno": error.errno or 0})


def raise_priority() -> None:
    """Put the calling thread, and those it starts, above ordinary ones; where that is not allowed, nothing happens."""
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))


def main() -> None:
    """The mother: forks a host for each descriptor that comes, until the other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Children that have ended need no one to ask for them.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(fileno=int(sys.argv[1])) as sock:
        while True:
            data, fds, _, _ = socket.recv_fds(sock, 1, 1)
            if not data:
                return
            if os.fork() == 0:
                status = 1
                try:
                    sock.close()
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    raise_priority()
                    Host(Channel(socket.socket(fileno=fds[0]))).serve()
                    status = 0
                finally:
                    # Threads may wait in calls for ever: they end here.
                    os._exit(status)
            os.close(fds[0])


class Nursery:
    """Starts hosts. Any thread may ask for one; `close` ends the mother, not the hosts."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        ours, theirs = socket.socketpair()
        self._sock = ours
        code = "from plankroad.packetdrill.kernel_host import main; main()"
        with theirs:
            self._mother = subprocess.Popen(
                [sys.executable, "-c", code, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )

    def __enter__(self) -> Nursery:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def host(self) -> Channel:
        """The channel to a new host."""
        ours, theirs = socket.socketpair()
        try:
            with theirs, self._lock:
                socket.send_fds(self._sock, [b"h"], [theirs.fileno()])
        except BaseException:
            ours.close()
            raise
        return Channel(ours)

    def close(self) -> None:
        """End the mother."""
        self._sock.close()
        self._mother.wait()
