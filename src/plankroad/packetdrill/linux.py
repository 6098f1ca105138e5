"""`LinuxGround`: a script runs on the kernel of this machine, in real time.

The host under test is a process in a network namespace of its own (`kernel_host`), with sockets of the kernel's and a
TUN device, whose other end is here: what the kernel sends is read from it, what the script sends is written to it.
Commands in backticks are run by a shell in that namespace. Nothing of the machine's own network is touched, and all of
it is gone with the process, which ends when this one closes its channel or ends itself.
"""

from __future__ import annotations

import os
import re
import select
import time
from collections import deque
from pathlib import Path
from typing import Any, Final

from plankroad.packetdrill.errors import ScriptError
from plankroad.packetdrill.ground import CommandResult, Ground, Sent, Settings
from plankroad.packetdrill.kernel_host import Nursery, decode, encode
from plankroad.packetdrill.kernel_info import tcp_info
from plankroad.paths.ground import check_ground
from plankroad.testing.call import Call
from plankroad.units import MILLISECOND, SECOND
from plankroad.wire.address import bytes_to_ip

#: How late or early a packet or a return may be at least, ns: other programs run on the machine.
TOLERANCE: Final = 80 * MILLISECOND

#: Time in which a call that does not wait returns; one that takes longer goes on beside the script.
_MOMENT: Final = 4 * MILLISECOND
#: Seconds that setting up and commands may take.
_LIMIT: Final = 60.0

_SOL_TCP: Final = 6
_TCP_INFO: Final = 11

#: A sysctl that is not of the namespace would be the machine's.
_FOREIGN_KEY: Final = re.compile(r"\bsysctl\b[^;|&`\n]*?\s(?!net[./])([a-z][\w-]*[./][\w./-]+)\s*=")
_FOREIGN_PATH: Final = re.compile(r"/proc/sys/(?!net/)[\w/-]*")


class LinuxGround(Ground):
    """See the module. `nursery`: where the host comes from; None makes one for this script alone, which takes longer.

    `congestion`: the algorithm of connections until a command says otherwise. `directory`: where commands run.
    Raises `plankroad.paths.ground.KernelError` where this machine or user cannot have namespaces and TUN devices.
    """

    virtual = False

    def __init__(
        self, settings: Settings, nursery: Nursery | None = None, congestion: str = "cubic", directory: str = "."
    ) -> None:
        super().__init__(settings)
        check_ground()
        settings.tolerance = max(settings.tolerance, TOLERANCE)
        settings.pushes_bursts = settings.bursts_hidden = True
        self._own_nursery = nursery is None
        self._nursery = nursery if nursery is not None else Nursery()
        self._directory = str(Path(directory).resolve())
        self._origin = -1
        self._tun = -1
        self._packets: deque[Sent] = deque()
        self._calls: dict[int, Call] = {}
        self._next_id = 0
        self._channel = self._nursery.host()
        try:
            self._channel.sock.settimeout(_LIMIT)
            self._channel.send({"do": "setup", "congestion": congestion, "sysctls": {}, **self._addresses()})
            _, (self._tun,) = self._answer()
            os.set_blocking(self._tun, False)
        except BaseException:
            self.close()
            raise

    def _addresses(self) -> dict[str, Any]:
        settings = self.settings
        addresses = [f"{bytes_to_ip(settings.local)}/{settings.prefix}"]
        if settings.local_link_local:
            addresses.append(f"{bytes_to_ip(settings.local_link_local)}/64")
        default = "0.0.0.0/0" if len(settings.local) == 4 else "::/0"
        return {"mtu": settings.mtu, "addresses": addresses, "routes": [(default, "")]}

    def _answer(self) -> tuple[dict[str, Any], list[int]]:
        """The next message that is no system call's, with descriptors; those are taken in on the way."""
        while True:
            try:
                message, fds = self._channel.receive()
            except (EOFError, ConnectionError):
                raise ScriptError("the process with the kernel's sockets has ended") from None
            except TimeoutError:
                raise ScriptError("the process with the kernel's sockets does not answer") from None
            if "error" in message:
                raise ScriptError(f"on the kernel: {message['error']}")
            if "id" not in message:
                return message, fds
            self._returned(message)

    def _returned(self, message: dict[str, Any]) -> None:
        call = self._calls.pop(message.pop("id"))
        if "problem" in message:
            raise ScriptError(f"the kernel's side cannot make this call: {message['problem']}")
        call.ended = message.pop("ended") - self._origin
        for name, value in message.items():
            decoded = decode(value)
            if name in ("control", "ready"):
                decoded = [tuple(one) for one in decoded]
            elif name == "fds":
                decoded = tuple(decoded)
            setattr(call, name, decoded)
        call.done = True

    # Time

    def now(self) -> int:
        # The clock starts with the first event: what commands before it take is nobody's.
        return time.monotonic_ns() - self._origin if self._origin >= 0 else 0

    def _begin(self) -> None:
        if self._origin < 0:
            self._drain()
            self._packets.clear()
            self._origin = time.monotonic_ns()

    def _pump(self, until: int) -> bool:
        """Wait for a packet or a message, to `until` at most; take in what there is. False where the time is over."""
        wait = max(0, until - self.now())
        channel = self._channel.sock
        ready = select.select([self._tun, channel.fileno()], [], [], wait / SECOND)[0]
        if self._tun in ready:
            self._drain()
        if channel.fileno() in ready:
            try:
                message, _ = self._channel.receive()
            except (EOFError, ConnectionError):
                raise ScriptError("the process with the kernel's sockets has ended") from None
            if "error" in message:
                raise ScriptError(f"on the kernel: {message['error']}")
            self._returned(message)
        return bool(ready) or self.now() < until

    def _drain(self) -> None:
        while True:
            try:
                packet = os.read(self._tun, 65536)
            except BlockingIOError:
                return
            # What IPv6 says to its link by itself (multicast listener reports and the like) is not the script's.
            if packet[0] >> 4 == 6 and packet[24] == 0xFF:
                continue
            self._packets.append(Sent(self.now(), packet))

    def advance(self, until: int) -> None:
        self._begin()
        while self._pump(until):
            pass

    def wait_packet(self, until: int) -> bool:
        self._begin()
        self._drain()
        while not self._packets and self._pump(until):
            pass
        return bool(self._packets)

    def wait_call(self, call: Call, until: int) -> bool:
        self._begin()
        while not call.done and self._pump(until):
            pass
        return call.done

    # Packets

    def inject(self, packet: bytes) -> None:
        self._begin()
        os.write(self._tun, packet)

    def take(self) -> Sent | None:
        if self._origin >= 0:
            self._drain()
        return self._packets.popleft() if self._packets else None

    # The program

    def start(self, kind: str, *arguments: object) -> Call:
        self._begin()
        call = Call(kind, arguments, self.now())
        self._next_id += 1
        self._calls[self._next_id] = call
        self._channel.send({"do": "call", "id": self._next_id, "kind": kind, "arguments": encode(list(arguments))})
        self.wait_call(call, self.now() + _MOMENT)
        return call

    def info(self, fd: int) -> dict[str, int]:
        call = self.start("getsockopt", fd, _SOL_TCP, _TCP_INFO, 512)
        if not self.wait_call(call, self.now() + SECOND) or call.value != 0:
            raise ScriptError(f"the kernel gives no tcp_info of descriptor {fd}: {os.strerror(call.errno)}")
        return tcp_info(call.data)

    def command(self, text: str) -> CommandResult:
        foreign = _FOREIGN_PATH.search(text) or _FOREIGN_KEY.search(text)
        if foreign:
            raise ScriptError(f"{foreign[0].split()[-1]!r} is the machine's, not the namespace's: it is left alone")
        self._channel.send({"do": "command", "text": text, "directory": self._directory})
        message, _ = self._answer()
        return CommandResult(message["status"], message["output"])

    def close(self) -> None:
        if self._tun >= 0:
            os.close(self._tun)
            self._tun = -1
        self._channel.sock.close()
        if self._own_nursery:
            self._nursery.close()
            self._own_nursery = False
