"""What the tests of attacks share: figures with bounds, costs that can be compared, and peers made by hand.

An attack is a function that does it and returns `Figure`s: what it cost us, each with the bound that is promised in
docs/security.md. Its test holds the bounds (`hold`); scripts/attacks.py prints the figures of all.
"""

from __future__ import annotations

import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.stack.net import Lone, segment_of, tcp

import plankroad
from plankroad.stack.config import StackConfig
from plankroad.tcp.listen import Listener
from plankroad.tcp.seq import MASK32
from plankroad.units import MILLISECOND, SECOND
from plankroad.wire.address import ip_to_bytes
from plankroad.wire.ipv4 import parse_ipv4
from plankroad.wire.ipv6 import parse_ipv6
from plankroad.wire.segment import ACK, FIN, PSH, RST, SYN, URG, Segment

FLAGS: Final = {"S": SYN, "F": FIN, "R": RST, "P": PSH, "U": URG, ".": ACK}

SERVER4: Final = ip_to_bytes("10.0.0.2")
SERVER6: Final = ip_to_bytes("fd00::2")
ATTACKER: Final = ip_to_bytes("10.0.0.66")

#: Where the machine is asked for time: a cost that grows with a queue of a hundred times the length grows by far more.
TIME_MARGIN: Final = 5.0
#: Where the lines of Python are counted there is no noise; what is logarithmic may grow a little.
LINES_MARGIN: Final = 2.0


class Figure:
    """One number of an attack. `value` may be at most `bound`; both in `unit`."""

    def __init__(self, what: str, value: float, bound: float, unit: str = "") -> None:
        self.what = what
        self.value = value
        self.bound = bound
        self.unit = unit

    def __repr__(self) -> str:
        return f"{self.what}: {number(self.value)} {self.unit} (at most {number(self.bound)})"


def number(value: float) -> str:
    """As people read it."""
    if isinstance(value, int) or value == int(value):
        return f"{int(value):,}"
    return f"{value:,.2f}" if abs(value) >= 0.01 else f"{value:.1e}"


Attack = Callable[[], list[Figure]]

#: Every attack by its name, in the order of the files.
ATTACKS: Final[dict[str, Attack]] = {}


def attack(name: str) -> Callable[[Attack], Attack]:
    """Enter an attack under the name that docs/security.md has for it."""

    def enter(function: Attack) -> Attack:
        assert name not in ATTACKS, f"two attacks are called {name}"
        ATTACKS[name] = function
        return function

    return enter


def hold(figures: list[Figure]) -> None:
    """Every figure is within its bound."""
    assert figures, "an attack that measures nothing"
    for figure in figures:
        assert figure.value <= figure.bound, repr(figure)


# --- what it costs ------------------------------------------------------------------------------------------------


def lines_of(act: Callable[[], None]) -> int:
    """Lines of plankroad's source that `act` executes: the work of the pure build, loops included, without noise."""
    home = str(Path(plankroad.__file__).parent)
    count = 0

    def local(_frame: object, event: str, _arg: object) -> object:
        nonlocal count
        if event == "line":
            count += 1
        return local

    def called(frame: object, _event: str, _arg: object) -> object:
        return local if frame.f_code.co_filename.startswith(home) else None  # type: ignore[attr-defined]

    before = sys.gettrace()
    sys.settrace(called)  # type: ignore[arg-type]
    try:
        act()
    finally:
        sys.settrace(before)
    return count


def growth(make: Callable[[int], Callable[[], None]], few: int, many: int) -> Figure:
    """How much more the same packets cost with a queue of `many` entries than with one of `few`.

    `make(n)`: brings about a queue of n, and returns what takes in the same number of packets, whatever n is.
    Pure: lines of Python; compiled: the best of five times. Either way a factor.
    """
    if plankroad.is_compiled():
        best: list[float] = []
        for size in (few, many):
            times: list[float] = []
            for _ in range(5):
                act = make(size)
                begin = time.perf_counter()
                act()
                times.append(time.perf_counter() - begin)
            best.append(min(times))
        return Figure(f"cost a packet, queue of {many:,} to {few:,}", best[1] / best[0], TIME_MARGIN, "x")
    ratio = lines_of(make(many)) / lines_of(make(few))
    return Figure(f"cost a packet, queue of {many:,} to {few:,}", ratio, LINES_MARGIN, "x")


def allocated(act: Callable[[], None]) -> int:
    """Bytes that are allocated after `act` and were not before, as tracemalloc sees them.

    Whoever traces already (the interpreter's own option) goes on doing so.
    """
    running = tracemalloc.is_tracing()
    if not running:
        tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        act()
        return tracemalloc.get_traced_memory()[0] - before
    finally:
        if not running:
            tracemalloc.stop()


# --- who does it --------------------------------------------------------------------------------------------------


class Target(Lone):
    """The host under attack, 10.0.0.2 and fd00::2, listening on port 80; the world around it is the test."""

    def __init__(self, config: StackConfig | None = None, backlog: int = 1 << 16, mtu: int = 1500) -> None:
        super().__init__(config, mtu)
        self.now = 10 * SECOND
        self.listener: Listener = self.b.listen(self.now, b"", 80, backlog=backlog)
        self.packets_in = 0
        self.packets_out = 0
        self.bytes_in = 0
        self.bytes_out = 0

    def give(self, data: bytes, **fields: bool) -> list[bytes]:
        out = super().give(data, **fields)
        self.packets_in += 1
        self.bytes_in += len(data)
        return self._sent(out)

    def pass_time(self, duration: int) -> list[bytes]:
        return self._sent(super().pass_time(duration))

    def poll(self) -> list[bytes]:
        """What goes out now, after a command of the program."""
        return self._sent(self.take())

    def _sent(self, out: list[bytes]) -> list[bytes]:
        self.packets_out += len(out)
        self.bytes_out += sum(map(len, out))
        return out

    def total(self, group: str, name: str) -> int:
        """A counter."""
        return self.b.counters.as_dict()[group][name]

    def used(self) -> int:
        """Bytes by the stack's own accounting."""
        return self.b.memory_use()["used"]


class Peer:
    """A peer made by hand. Sequence numbers are relative, 0 the SYN, on both sides."""

    def __init__(
        self,
        target: Target,
        address: bytes = ATTACKER,
        port: int = 40000,
        to_port: int = 80,
        iss: int = 1000,
        ts: bool = False,
    ) -> None:
        self.target = target
        self.address = address
        self.port = port
        self.to_port = to_port
        self.iss = iss
        self.irs = 0
        self.wnd = 65535
        self.ts = ts
        self.ts_ecr = 0

    def packet(
        self,
        flags: str,
        seq: int = 1,
        ack: int = 1,
        data: bytes = b"",
        wnd: int = -1,
        mss: int = 0,
        wscale: int = -1,
        sack_ok: bool = False,
        sack: list[tuple[int, int]] | None = None,
        urgent: int = 0,
        ts_val: int = -1,
    ) -> bytes:
        """A segment as an IP packet."""
        bits = 0
        for letter in flags:
            bits |= FLAGS[letter]
        seg = Segment(self.port, self.to_port, (self.iss + seq) & MASK32, 0, bits, 0, data)
        seg.wnd = self.wnd if wnd < 0 else wnd
        if bits & ACK:
            seg.ack = (self.irs + ack) & MASK32
        seg.mss = mss
        seg.wscale = wscale
        seg.sack_permitted = sack_ok
        seg.urgent = urgent
        if sack:
            seg.sack = [((self.irs + a) & MASK32, (self.irs + b) & MASK32) for a, b in sack]
        if self.ts:
            seg.has_ts = True
            seg.ts_val = ts_val if ts_val >= 0 else self.target.now // MILLISECOND & MASK32
            seg.ts_ecr = self.ts_ecr
        return tcp(seg, self.address, SERVER4 if len(self.address) == 4 else SERVER6)

    def send(self, flags: str, **fields: object) -> list[Segment]:
        """Send it; the answers to this peer."""
        return self.heard(self.target.give(self.packet(flags, **fields)))  # type: ignore[arg-type]

    def heard(self, packets: list[bytes]) -> list[Segment]:
        """Of those packets the segments for this peer."""
        found: list[Segment] = []
        for packet in packets:
            if packet[0] >> 4 == 4:
                ip4 = parse_ipv4(packet)
                if ip4.protocol != 6 or ip4.dst != self.address:
                    continue
            else:
                ip6 = parse_ipv6(packet)
                if ip6.protocol != 6 or ip6.dst != self.address:
                    continue
            seg = segment_of(packet)
            if seg.dst_port == self.port and seg.src_port == self.to_port:
                if seg.has_ts:
                    self.ts_ecr = seg.ts_val
                found.append(seg)
        return found

    def syn(self, mss: int = 1460, wscale: int = -1, sack: bool = True) -> list[Segment]:
        """A SYN."""
        return self.send("S", seq=0, mss=mss, wscale=wscale, sack_ok=sack)

    def open(self, mss: int = 1460, wscale: int = -1, sack: bool = True, wnd: int = 65535) -> bool:
        """The whole handshake; whether there was a SYN, ACK to answer."""
        self.wnd = wnd
        answers = [seg for seg in self.syn(mss, wscale, sack) if seg.flags & SYN]
        if not answers:
            return False
        self.irs = answers[0].seq
        self.send(".")
        return True

    def relative(self, seg: Segment) -> int:
        """Where a segment of the target begins."""
        return (seg.seq - self.irs + 0x80000000 & MASK32) - 0x80000000


def address(number_: int) -> bytes:
    """One of many addresses that are not of the target's subnet."""
    return bytes((172, 16 + (number_ >> 16 & 15), number_ >> 8 & 255, number_ & 255))
