"""The process in which one end's kernel sockets live: a network namespace of its own, a TUN device, and TCP flows.

It is a program of its own (`main`), told by `ground.KernelEnd` what to do over a socket pair: one JSON object a
message, answered by one. The namespace is this process's alone and has no name, so it, its device and its sockets go
when the process does, whatever ends it; and the process goes when the other end of the socket pair is closed.
"""

from __future__ import annotations

import contextlib
import os
import resource
import selectors
import signal
import socket
import struct
import sys
import time
from pathlib import Path
from typing import Any, Final

from plankroad.link.netlink import RouteSocket
from plankroad.paths.namespace import Channel, enter_namespace, open_device

DEVICE: Final = "path"
PORT: Final = 5001
#: The source port of the first flow; the others count up.
FIRST_PORT: Final = 40001

_PRIORITY: Final = 5
_NO_SSTHRESH: Final = 0x7FFFFFFF
_NO_PACING: Final = (1 << 64) - 1
_CHUNK: Final = 1 << 18
#: What arrived is added up in steps of so many nanoseconds.
BIN: Final = 1_000_000

#: struct tcp_info of Linux (include/uapi/linux/tcp.h), as far as it is used; a field is an offset and a format.
_TCP_INFO: Final[dict[str, tuple[int, str]]] = {
    "state": (0, "B"),
    "ca_state": (1, "B"),
    "rto": (8, "I"),
    "snd_mss": (16, "I"),
    "unacked": (24, "I"),
    "sacked": (28, "I"),
    "lost": (32, "I"),
    "retrans": (36, "I"),
    "rtt": (68, "I"),
    "rttvar": (72, "I"),
    "snd_ssthresh": (76, "I"),
    "snd_cwnd": (80, "I"),
    "reordering": (88, "I"),
    "total_retrans": (100, "I"),
    "pacing_rate": (104, "Q"),
    "bytes_acked": (120, "Q"),
    "notsent_bytes": (144, "I"),
    "min_rtt": (148, "I"),
    "delivery_rate": (160, "Q"),
    "busy_time": (168, "Q"),
    "rwnd_limited": (176, "Q"),
    "sndbuf_limited": (184, "Q"),
    "bytes_retrans": (208, "Q"),
    "dsack_dups": (216, "I"),
    "snd_wnd": (228, "I"),
    "total_rto": (240, "H"),
}


def tcp_info(sock: socket.socket) -> dict[str, int]:
    """The kernel's tcp_info of a connection; fields that an older kernel does not have are left out."""
    raw = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 512)
    return {
        name: struct.unpack_from("=" + code, raw, offset)[0]
        for name, (offset, code) in _TCP_INFO.items()
        if offset + struct.calcsize("=" + code) <= len(raw)
    }


def netstat() -> dict[str, int]:
    """The counters of the namespace: "TcpExt.TCPTimeouts", "Tcp.RetransSegs" and the like."""
    found: dict[str, int] = {}
    for name in ("snmp", "netstat"):
        lines = Path("/proc/thread-self/net", name).read_text(encoding="ascii").splitlines()
        for names, values in zip(lines[::2], lines[1::2], strict=True):
            layer, *columns = names.split()
            for column, value in zip(columns, values.split()[1:], strict=True):
                found[f"{layer.rstrip(':')}.{column}"] = int(value)
    return found


def device_drops() -> int:
    """Packets that the device did not keep until they were read."""
    # Not from /sys, which shows the devices of the namespace that it was mounted in.
    for line in Path("/proc/thread-self/net/dev").read_text(encoding="ascii").splitlines():
        name, _, columns = line.partition(":")
        if name.strip() == DEVICE:
            return int(columns.split()[11])
    return 0


class Worker:
    """One end: answers one command after the other."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.listener: socket.socket | None = None
        self.routes: RouteSocket | None = None

    # Setting up

    def setup(self, order: dict[str, Any]) -> tuple[dict[str, Any], tuple[int, ...]]:
        """A namespace and a device in it, with an address; answers with the device's descriptor."""
        enter_namespace(order["sysctls"])
        self.routes = routes = RouteSocket()
        fd, _ = open_device(routes, DEVICE, order["mtu"], [order["address"]], order["queue_length"])
        # Loopback is left down: nothing but the device's peer is reached from here.
        return {"algorithms": Path("/proc/sys/net/ipv4/tcp_available_congestion_control").read_text().split()}, (fd,)

    def listen(self, order: dict[str, Any]) -> dict[str, Any]:
        """Accept flows from now on."""
        self.listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.listener.setblocking(False)
        self.listener.bind((order["address"], PORT))
        self.listener.listen(1024)
        return {}

    # Flows

    def send(self, order: dict[str, Any]) -> dict[str, Any]:
        """Send by several flows, each from its start until the end or as many bytes as are to be sent."""
        origin, until = order["origin"], order["until"]
        pending = [(start, i) for i, start in enumerate(order["starts"])]
        pending.sort(reverse=True)
        limit = order["bytes"]
        step = order["sample"]
        chunk = memoryview(bytes(_CHUNK))
        left = [limit] * len(pending) if limit else [-1] * len(pending)
        flows: list[socket.socket | None] = [None] * len(pending)
        errors = [""] * len(pending)
        series: list[list[list[int]]] = [[] for _ in pending]
        next_sample = 0
        with selectors.DefaultSelector() as selector:
            selector.register(self.channel.sock, selectors.EVENT_READ, -1)
            while (now := time.monotonic_ns() - origin) < until:
                while pending and pending[-1][0] <= now:
                    i = pending.pop()[1]
                    try:
                        flows[i] = made = self._connect(order, i)
                        selector.register(made, selectors.EVENT_WRITE, i)
                    except OSError as error:
                        errors[i] = str(error)
                if step and now >= next_sample:
                    next_sample = now - now % step + step
                    for i, flow in enumerate(flows):
                        if flow is not None:
                            series[i].append(_sample(now, flow))
                wake = min(until, pending[-1][0] if pending else until, next_sample if step else until)
                for key, _ in selector.select(max(0, wake - now) / 1e9):
                    i = key.data
                    if i < 0:
                        # The only word that comes now is that it is over.
                        return self._sent(flows, errors, series)
                    flow = flows[i]
                    assert flow is not None
                    try:
                        count = flow.send(chunk if left[i] < 0 else chunk[: left[i]])
                    except BlockingIOError:
                        continue
                    except OSError as error:
                        errors[i] = str(error)
                        selector.unregister(flow)
                        continue
                    if left[i] > 0:
                        left[i] -= count
                        if not left[i]:
                            flow.shutdown(socket.SHUT_WR)
                            selector.unregister(flow)
        return self._sent(flows, errors, series)

    def _connect(self, order: dict[str, Any], number: int) -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            made.setblocking(False)
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, order["algorithms"][number].encode())
            # What is not acknowledged at the end is forgotten, not sent for minutes.
            made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            made.bind((order["address"], FIRST_PORT + number))
            with contextlib.suppress(BlockingIOError):
                made.connect((order["peer"], PORT))
        except OSError:
            made.close()
            raise
        return made

    def _sent(
        self, flows: list[socket.socket | None], errors: list[str], series: list[list[list[int]]]
    ) -> dict[str, Any]:
        # Read before the sockets are closed, and at once: the path does not carry anything any more.
        counters = netstat()
        infos = [{} if flow is None else tcp_info(flow) for flow in flows]
        for flow in flows:
            if flow is not None:
                flow.close()
        return {"counters": counters, "infos": infos, "errors": errors, "series": series, "drops": device_drops()}

    def receive(self, order: dict[str, Any]) -> dict[str, Any]:
        """Read all that comes until the end. Tells once when every flow has all that it is to carry."""
        origin, until, count, wanted = order["origin"], order["until"], order["flows"], order["bytes"]
        listener = self.listener
        assert listener is not None
        bins: list[dict[int, int]] = [{} for _ in range(count)]
        totals = [0] * count
        completed = [-1] * count
        open_flows: list[socket.socket] = []
        room = bytearray(_CHUNK)
        with selectors.DefaultSelector() as selector:
            selector.register(self.channel.sock, selectors.EVENT_READ, -2)
            selector.register(listener, selectors.EVENT_READ, -1)
            over = False
            while not over and (now := time.monotonic_ns() - origin) < until:
                for key, _ in selector.select((until - now) / 1e9):
                    i = key.data
                    if i == -2:
                        over = True
                        break
                    if i == -1:
                        flow, peer = listener.accept()
                        flow.setblocking(False)
                        flow.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                        open_flows.append(flow)
                        if 0 <= peer[1] - FIRST_PORT < count:
                            selector.register(flow, selectors.EVENT_READ, peer[1] - FIRST_PORT)
                        continue
                    flow = key.fileobj  # type: ignore[assignment]
                    now = time.monotonic_ns() - origin
                    if now >= until:
                        break
                    try:
                        size = flow.recv_into(room)
                    except BlockingIOError:
                        continue
                    except OSError:
                        size = 0
                    if not size:
                        selector.unregister(flow)
                        continue
                    totals[i] += size
                    bins[i][now // BIN] = bins[i].get(now // BIN, 0) + size
                    if wanted and totals[i] >= wanted and completed[i] < 0:
                        completed[i] = now
                        if min(completed) >= 0:
                            self.channel.send({"complete": True})
        counters = netstat()
        for flow in open_flows:
            flow.close()
        return {
            "bytes": totals,
            "completed": completed,
            "bins": [sorted(one.items()) for one in bins],
            "counters": counters,
            "drops": device_drops(),
        }

    def serve(self) -> None:
        """Answer commands until the other process is gone."""
        while True:
            try:
                order, _ = self.channel.receive()
            except EOFError:
                return
            fds: tuple[int, ...] = ()
            try:
                kind = order["do"]
                if kind == "setup":
                    answer, fds = self.setup(order)
                elif kind == "listen":
                    answer = self.listen(order)
                elif kind == "send":
                    answer = self.send(order)
                elif kind == "receive":
                    answer = self.receive(order)
                else:  # "over" came after the end
                    continue
            except OSError as error:
                answer = {"error": str(error.strerror or error), "errno": error.errno or 0}
            try:
                self.channel.send(answer, fds)
            except (BrokenPipeError, ConnectionResetError):
                return  # whoever asked is gone: an interrupt
            finally:
                for fd in fds:
                    os.close(fd)


def _sample(now: int, flow: socket.socket) -> list[int]:
    info = tcp_info(flow)
    mss = info["snd_mss"]
    ssthresh = info["snd_ssthresh"]
    flight = max(0, info["unacked"] - info["sacked"] - info["lost"] + info["retrans"])
    pacing = info["pacing_rate"]
    return [
        now,
        info["snd_cwnd"] * mss,
        0 if ssthresh >= _NO_SSTHRESH else ssthresh * mss,
        flight * mss,
        info["rtt"],
        0 if pacing >= _NO_PACING else pacing,
    ]


def main() -> None:
    """Serve on the descriptor that the command line names."""
    # Ctrl-C is the other process's; when that ends, so does this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(_PRIORITY))
    with socket.socket(fileno=int(sys.argv[1])) as sock:
        Worker(Channel(sock)).serve()
