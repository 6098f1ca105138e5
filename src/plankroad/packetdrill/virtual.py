"""`VirtualGround`: a script runs on plankroad's own stack, in virtual time.

The clock stands still while something happens and jumps to the next deadline when nothing does, so every event is at
its exact nanosecond, and a run depends on the script, the profile and the seed alone. Time is handed to the stack as
the ground's plus `BEGIN`: a host that has been up for a while.

What one packet leads to is sent before the program hears of it, as by a kernel, whose program runs later: output is
polled first, then events go to the sockets, whose calls go on, then output is polled again until all is quiet.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Final

from plankroad.link.segmentation import segment
from plankroad.packetdrill.commands import Commands
from plankroad.packetdrill.errors import NotApplicableError, ScriptError
from plankroad.packetdrill.ground import CommandResult, Ground, Sent, Settings
from plankroad.packetdrill.info import script_info
from plankroad.packetdrill.machine import Machine
from plankroad.packetdrill.not_applicable import reason
from plankroad.packetdrill.seen import see
from plankroad.stack.config import StackConfig
from plankroad.stack.stack import Stack
from plankroad.testing.call import Call
from plankroad.testing.syscalls import CallError, SyscallTable
from plankroad.units import NEVER, SECOND
from plankroad.wire.address import bytes_to_ip
from plankroad.wire.checksum import complete
from plankroad.wire.constants import PROTO_TCP
from plankroad.wire.errors import BadPacket
from plankroad.wire.packet import GSO_NONE, GSO_TCPV4, GSO_TCPV6, Packet

if TYPE_CHECKING:
    from plankroad.ip.interface import Interface

#: The stack's time when the script's is 0.
BEGIN: Final = 1000 * SECOND

#: Things that may happen at one moment of time before it is called a loop without end.
MAX_ROUNDS: Final = 100_000

_SECRET: Final = b"a packet script, nobody to be hidden from"


class VirtualGround(Ground):
    """See the module. `config`: the stack's, whose `tcp` part commands may change while the script runs.

    `gso_max_size`: as of a link that cuts super-segments itself (they are cut here, what `take` gives is what is on
    the wire); 0: the stack sends single segments. `directory`: from where commands read files; `commands`: Python files
    that add to what they know.
    """

    virtual = True

    def __init__(
        self,
        settings: Settings,
        config: StackConfig | None = None,
        gso_max_size: int = 0,
        directory: Path | None = None,
        commands: Sequence[Path] = (),
    ) -> None:
        super().__init__(settings)
        self.time = BEGIN
        self.config = config if config is not None else StackConfig()
        self.packets: deque[Sent] = deque()
        self.stack = Stack(self.config, Random(settings.seed), _SECRET + settings.seed.to_bytes(8, "big"))
        self.interface: Interface = self.stack.add_interface(
            "tun0", settings.mtu, tx_csum=True, gso_max_size=gso_max_size
        )
        self.stack.add_address(self.interface, f"{bytes_to_ip(settings.local)}/{settings.prefix}")
        if settings.local_link_local:
            self.stack.add_address(self.interface, f"{bytes_to_ip(settings.local_link_local)}/64")
        self.stack.add_route("0.0.0.0/0" if len(settings.local) == 4 else "::/0", interface=self.interface)
        self.table = SyscallTable(self.stack, self.clock, self.push)
        self.machine = Machine(self.stack, self.clock, self.table, directory, self.sleep)
        self.commands = Commands(self.machine, commands)
        self.table.origin = BEGIN
        self._busy = False
        self._closed = False

    def clock(self) -> int:
        """The stack's time."""
        return self.time

    def now(self) -> int:
        return self.time - BEGIN

    # Packets

    def inject(self, packet: bytes) -> None:
        came = Packet(packet, interface=self.interface.index)
        mss = self.settings.mss
        if mss and _tcp_data(packet) > mss:
            came.gso_type = GSO_TCPV4 if packet[0] >> 4 == 4 else GSO_TCPV6
            came.gso_size = mss
        self.stack.receive(self.time, came)
        self.push()

    def take(self) -> Sent | None:
        return self.packets.popleft() if self.packets else None

    def push(self) -> None:
        """Let everything happen that follows from what was done, at this moment."""
        if self._busy:
            return  # whoever is at it goes on until nothing is left
        self._busy = True
        stack = self.stack
        try:
            for _ in range(MAX_ROUNDS):
                if self.table.pending:
                    self.table.before_output()
                packet = stack.poll_transmit(self.time)
                while packet is not None:
                    self._send(packet)
                    packet = stack.poll_transmit(self.time)
                if not self.table.settle():
                    return
        finally:
            self._busy = False
        raise ScriptError(f"at {self.now() / SECOND:.6f} s something goes on for ever without time going on")

    def _send(self, packet: Packet) -> None:
        if self.machine.queue_closed:
            return  # dropped by the device's queue
        pieces = [complete(packet)] if packet.gso_type == GSO_NONE else segment(packet)
        for i, piece in enumerate(pieces):
            sent = piece.to_bytes()
            mtu = self.interface.mtu
            if len(sent) > mtu:
                raise ScriptError(f"the stack sent a packet of {len(sent)} bytes on a link whose MTU is {mtu}")
            self.packets.append(Sent(self.now(), sent, 0 < i == len(pieces) - 1))

    # Time

    def advance(self, until: int) -> None:
        while self._step(until):
            pass
        self.time = max(self.time, until + BEGIN)

    def wait_packet(self, until: int) -> bool:
        while not self.packets:
            if not self._step(until):
                self.time = max(self.time, until + BEGIN)
                break
        return bool(self.packets)

    def wait_call(self, call: Call, until: int) -> bool:
        while not call.done:
            if not self._step(until):
                self.time = max(self.time, until + BEGIN)
                break
        return call.done

    def _step(self, until: int) -> bool:
        """To the next deadline and what it leads to; False where there is none up to `until`."""
        when = min(self.stack.next_timeout(), self.table.next_deadline())
        if when > until + BEGIN or when >= NEVER:
            return False
        if when > self.time:
            self.time = when
            self._rounds = 0
        else:
            self._rounds += 1
            if self._rounds > MAX_ROUNDS:
                raise ScriptError(f"at {self.now() / SECOND:.6f} s a timer expires again and again")
        self.stack.handle_timeout(self.time)
        self.push()
        if self.table.next_deadline() <= self.time:
            self.table.expire()
        return True

    _rounds = 0

    # The program

    def start(self, kind: str, *arguments: object) -> Call:
        why = reason(kind, arguments)
        if why:
            raise NotApplicableError(why)
        try:
            return self.table.start(kind, *arguments)
        except CallError as exc:
            raise ScriptError(str(exc)) from None

    def info(self, fd: int) -> dict[str, int]:
        try:
            return script_info(self.table.connection(fd))
        except OSError as exc:
            raise ScriptError(f"descriptor {fd} has no tcp_info: {exc.strerror}") from None

    def command(self, text: str) -> CommandResult:
        result = self.commands.run(text)
        self.push()
        return CommandResult(result.status, result.out + result.err)

    def sleep(self, duration: int) -> None:
        """A command waits: time goes on."""
        self.advance(self.now() + duration)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self.table.close_all()
            self.packets.clear()


def _tcp_data(packet: bytes) -> int:
    """Bytes of data of a TCP segment; 0 for any other packet."""
    try:
        seen = see(packet)
    except BadPacket:
        return 0
    return seen.length if seen.protocol == PROTO_TCP else 0
