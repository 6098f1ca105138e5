"""Dialogues: what a random peer says to a listener, and what the program behind it does. A seed makes one.

All numbers are relative: sequence numbers to the peer's initial one, acknowledgements to the host's, timestamps to the
peer's first. So the same dialogue can be held with hosts that choose their own. A dialogue knows nothing of answers: it
is made of a good handshake, mostly, and of acts that follow a rough picture of what the host must have by then.
"""

from __future__ import annotations

import random
from typing import Final

from plankroad.wire.segment import ACK, CWR, ECE, FIN, PSH, RST, SYN, URG

#: What happens in a step.
PACKET: Final = "packet"
WRITE: Final = "write"
READ: Final = "read"
SHUTDOWN: Final = "shutdown"
CLOSE: Final = "close"

#: The octets that the peer sends and the program writes: octet n of a stream is n * 7 + n >> 8 modulo 256.
STREAM: Final = bytes((n * 7 + (n >> 8)) & 0xFF for n in range(1 << 17))

#: Flags that a random segment may have.
_ODD_FLAGS: Final = (
    0,
    FIN,
    SYN,
    RST,
    RST | ACK,
    SYN | ACK,
    FIN | ACK,
    SYN | FIN,
    SYN | RST,
    SYN | FIN | ACK,
    URG | ACK,
    PSH,
    PSH | ACK,
    FIN | URG | PSH,
    SYN | FIN | RST | PSH | ACK | URG,
)


class Step:
    """One step. A packet's `seq` counts from the right edge of the host's window where `from_edge` is set.

    `ack` None: the number is 0 whatever the flags say. `ts`: TSval, relative; its TSecr is the host's last TSval. None:
    no option. `options` of a SYN: MSS (0: none), window scale (-1: none), SACK permitted.
    """

    __slots__ = (
        "ack",
        "broken",
        "flags",
        "from_edge",
        "kind",
        "length",
        "options",
        "sack",
        "seq",
        "tos",
        "ts",
        "urgent",
        "wnd",
    )

    def __init__(self, kind: str, length: int = 0) -> None:
        self.kind = kind
        self.length = length
        self.flags = 0
        self.seq = 0
        self.ack: int | None = None
        self.from_edge = False
        self.wnd = 30_000
        self.urgent = 0
        self.tos = 0
        self.ts: int | None = None
        self.sack: list[tuple[int, int]] = []
        self.options: tuple[int, int, bool] | None = None
        self.broken = False

    def __str__(self) -> str:
        if self.kind != PACKET:
            return f"program: {self.kind}{f' {self.length}' if self.kind in (WRITE, READ) else ''}"
        seq = f"edge{self.seq:+d}" if self.from_edge else str(self.seq)
        text = f"{flag_letters(self.flags)} {seq}({self.length})"
        if self.ack is not None:
            text += f" ack {self.ack}"
        text += f" win {self.wnd}"
        if self.options is not None:
            mss, wscale, sack = self.options
            named = (f"mss {mss}" if mss else "", f"wscale {wscale}" if wscale >= 0 else "", "sackOK" if sack else "")
            text += f" <{' '.join(filter(None, named))}>"
        if self.ts is not None:
            text += f" ts {self.ts}"
        if self.sack:
            text += " sack " + " ".join(f"{left}:{right}" for left, right in self.sack)
        if self.urgent:
            text += f" urg {self.urgent}"
        if self.tos:
            text += f" tos {self.tos}"
        return text + (" (its checksum is wrong)" if self.broken else "")


def flag_letters(flags: int) -> str:
    """Flags as tcpdump has them."""
    names = ((SYN, "S"), (FIN, "F"), (RST, "R"), (PSH, "P"), (URG, "U"), (ACK, "."), (ECE, "E"), (CWR, "W"))
    return "".join(name for bit, name in names if flags & bit) or "-"


class Writer:
    """Makes the steps of one dialogue. `nxt`: the peer's next octet in order, `out`: the end of what the host has sent
    (its SYN and FIN counted), `acked`: of it, acknowledged.
    """

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(f"dialogue {seed}")
        rng = self.rng
        self.steps: list[Step] = []
        self.mss = rng.choice((0, 100, 536, 1460, 1460))
        self.wscale = rng.choice((-1, 0, 2, 7, 14))
        self.sack_ok = rng.random() < 0.7
        self.ts_ok = rng.random() < 0.6
        self.clock = 0
        self.nxt = 1
        self.out = 1
        self.acked = 1
        self.holes: list[tuple[int, int]] = []
        self.shut = False
        self.fin = False

    def packet(self, flags: int, seq: int, length: int = 0, ack: int | None = None) -> Step:
        """A segment with what belongs to it."""
        step = Step(PACKET, length)
        step.flags, step.seq, step.ack = flags, seq, ack
        self.clock += self.rng.choice((0, 1, 10))
        if self.ts_ok:
            step.ts = self.clock
        self.steps.append(step)
        return step

    def write(self) -> list[Step]:
        """The whole dialogue."""
        rng = self.rng
        if rng.random() < 0.1:
            for _ in range(rng.randrange(1, 4)):
                self.stray()
        self.handshake()
        for _ in range(rng.randrange(1, 16)):
            self.act()
        return self.steps

    def syn(self) -> Step:
        """The SYN of the handshake."""
        step = self.packet(SYN, 0)
        step.options = (self.mss, self.wscale, self.sack_ok)
        return step

    def stray(self) -> None:
        """A segment for no connection."""
        rng = self.rng
        flags = rng.choice(_ODD_FLAGS)
        if flags & (SYN | ACK | RST | FIN) == SYN:
            flags |= ACK
        self.packet(
            flags, rng.choice((0, 1, 1000)), rng.choice((0, 0, 10)), rng.choice((1, 1000)) if flags & ACK else None
        )

    def handshake(self) -> None:
        """A good one mostly; repeated, damaged or odd segments in it sometimes."""
        rng = self.rng
        first = self.syn()
        dice = rng.random()
        if dice < 0.06:
            first.length = rng.choice((1, 100))
        elif dice < 0.12:
            first.flags |= ECE | CWR
        elif dice < 0.15:
            first.flags |= rng.choice((PSH, URG))
        if rng.random() < 0.25:
            for _ in range(rng.randrange(1, 4)):
                self.in_syn_received()
        data = rng.choice((0, 0, 0, 100))
        last = self.packet(ACK | (PSH if data else 0), 1, data, 1)
        self.nxt += data
        if rng.random() < 0.05:
            last.flags |= FIN
            self.nxt += 1
            self.fin = True

    def in_syn_received(self) -> None:
        """Before the handshake is over."""
        rng = self.rng
        dice = rng.randrange(8)
        if dice == 0:
            self.syn()
        elif dice == 1:
            step = self.syn()
            step.seq = rng.choice((1, -1, 5000, 1_000_000))
        elif dice == 2:
            self.packet(ACK, 1, 0, rng.choice((0, 2, 1000, -1000)))
        elif dice == 3:
            self.packet(RST, rng.choice((0, 2, 100, 1_000_000)))
        elif dice == 4:
            self.packet(ACK, rng.choice((0, 2, 10)), rng.choice((0, 10)), rng.choice((1, 2, 0)))
        elif dice == 5:
            self.packet(SYN | ACK, rng.choice((0, 1, 10)), 0, rng.choice((1, 2)))
        elif dice == 6:
            self.packet(FIN, rng.choice((1, 2)))
        else:
            self.packet(0, rng.choice((0, 1)), rng.choice((0, 10)))

    def act(self) -> None:
        """One act of the middle or the end of a connection."""
        rng = self.rng
        dice = rng.randrange(100)
        if dice < 14:
            self.data()
        elif dice < 24:
            self.out_of_order()
        elif dice < 32:
            self.again()
        elif dice < 44:
            self.acknowledge()
        elif dice < 52:
            self.odd()
        elif dice < 58:
            self.reset()
        elif dice < 63:
            self.syn_again()
        elif dice < 69:
            self.finish()
        elif dice < 73:
            self.urgent()
        elif dice < 78:
            self.old_timestamp()
        elif dice < 82:
            self.at_the_edge()
        elif dice < 84:
            self.packet(ACK | PSH, self.nxt, 10, self.out).broken = True
        else:
            self.program()

    def data(self) -> None:
        """The next octets in order."""
        rng = self.rng
        length = rng.choice((1, 10, 100, 536, 1000, 1460))
        step = self.packet(ACK | PSH, self.nxt, length, rng.choice((self.out, self.acked)))
        step.wnd = rng.choice((30_000, 30_000, 1000, 0))
        if self.fin:
            return
        self.nxt += length
        self.acked = max(self.acked, step.ack or 0)

    def out_of_order(self) -> None:
        """Octets behind a hole, or those of one."""
        rng = self.rng
        if self.holes and rng.random() < 0.6:
            start, end = self.holes.pop(rng.randrange(len(self.holes)))
            step = self.packet(ACK, start, end - start, self.acked)
            if not self.holes:
                self.nxt = max(self.nxt, self.far())
        else:
            gap = rng.choice((1, 10, 536, 1460))
            length = rng.choice((1, 100, 1460))
            start = max(self.far(), self.nxt)
            self.holes.append((start, start + gap))
            step = self.packet(ACK, start + gap, length, self.acked)
            self.highest = start + gap + length
        if rng.random() < 0.1:
            step.flags |= FIN

    highest = 0

    def far(self) -> int:
        """The end of the octets sent so far."""
        return max(self.nxt, self.highest)

    def again(self) -> None:
        """Octets that were sent before, and perhaps some new ones."""
        rng = self.rng
        back = rng.choice((1, 10, 100, 2000))
        start = max(1, self.nxt - back)
        length = rng.choice((self.nxt - start, self.nxt - start, 1, 50, self.nxt - start + 20))
        self.packet(ACK, start, length, self.acked)
        if not self.fin and start + length > self.nxt and not self.holes:
            self.nxt = start + length

    def acknowledge(self) -> None:
        """An acknowledgement: right, old, again, of what was never sent; with SACK blocks sometimes."""
        rng = self.rng
        ack = rng.choice(
            (
                self.out,
                self.out,
                self.acked,
                self.acked - 1,
                self.out + 1,
                self.out + 100_000,
                self.acked - 100_000,
                self.acked + 1,
            )
        )
        step = self.packet(ACK, self.nxt, rng.choice((0, 0, 0, 10)), ack)
        step.wnd = rng.choice((30_000, 30_000, 100, 0, 65_535))
        if self.sack_ok and rng.random() < 0.3:
            for _ in range(rng.randrange(1, 4)):
                left = rng.choice((self.acked, self.acked + 10, self.out, self.out + 1000, 0, -1000))
                step.sack.append((left, left + rng.choice((1, 100, 1460, 0, -5))))
        if step.length and not self.fin and self.acked - 60_000 < ack <= self.out:
            self.nxt += step.length
        if self.acked <= ack <= self.out:
            self.acked = ack

    def odd(self) -> None:
        """Any flags anywhere near."""
        rng = self.rng
        flags = rng.choice(_ODD_FLAGS)
        seq = self.nxt + rng.choice((0, 0, 1, -1, 100, -100, 500_000, -500_000))
        ack = rng.choice((self.acked, self.out, self.out + 5)) if flags & ACK else None
        self.packet(flags, seq, rng.choice((0, 0, 10)), ack)

    def reset(self) -> None:
        """RST: exact, in the window, outside of it."""
        rng = self.rng
        step = self.packet(
            rng.choice((RST, RST | ACK)), self.nxt + rng.choice((0, 1, -1, 1000, 2_000_000, -2_000_000))
        )
        if rng.random() < 0.2:
            step.from_edge, step.seq = True, rng.choice((-1, 0, 1))
        if step.flags & ACK:
            step.ack = self.acked
        step.length = rng.choice((0, 0, 5))

    def syn_again(self) -> None:
        """A SYN on a connection: the old one, in the window, far away; like a new connection."""
        rng = self.rng
        step = self.syn()
        step.seq = rng.choice((0, self.nxt, self.nxt + 100, 3_000_000, -3_000_000))
        if rng.random() < 0.2:
            step.flags |= ACK
            step.ack = self.acked

    def finish(self) -> None:
        """FIN, in order or not, once more."""
        rng = self.rng
        seq = self.nxt - (1 if self.fin else 0)
        step = self.packet(
            FIN | ACK, seq + rng.choice((0, 0, 0, 10, -1)), rng.choice((0, 0, 20)), rng.choice((self.out, self.acked))
        )
        if step.seq == seq and not self.fin:
            self.fin = True
            self.nxt = seq + step.length + 1
        self.acked = max(self.acked, step.ack or 0)

    def urgent(self) -> None:
        """Urgent data (RFC 6093)."""
        rng = self.rng
        length = rng.choice((0, 1, 10, 100))
        step = self.packet(URG | ACK, self.nxt, length, self.acked)
        step.urgent = rng.choice((0, 1, length, length + 1, 60_000))
        if not self.fin:
            self.nxt += length

    def old_timestamp(self) -> None:
        """RFC 7323: a timestamp from before, none at all, or one where none was agreed to."""
        rng = self.rng
        length = rng.choice((0, 10))
        step = self.packet(ACK, self.nxt, length, self.acked)
        step.ts = rng.choice((None, -5, -1_000_000, self.clock, self.clock + 1_000_000))
        if not self.ts_ok and not self.fin:
            self.nxt += length
        elif step.ts is not None and step.ts >= self.clock and not self.fin:
            self.nxt += length
            self.clock = step.ts

    def at_the_edge(self) -> None:
        """Around the right edge of the host's window."""
        rng = self.rng
        step = self.packet(rng.choice((ACK, ACK, FIN | ACK)), 0, rng.choice((0, 1, 10)), self.acked)
        step.from_edge, step.seq = True, rng.choice((-1, 0, 1, 1000, -20))

    def program(self) -> None:
        """What the program does."""
        rng = self.rng
        dice = rng.random()
        if dice < 0.45 and not self.shut:
            length = rng.choice((1, 100, 1000, 3000))
            self.steps.append(Step(WRITE, length))
            self.out += length
        elif dice < 0.75:
            self.steps.append(Step(READ, rng.choice((10, 100_000))))
        elif dice < 0.92:
            if not self.shut:
                self.shut = True
                self.out += 1
            self.steps.append(Step(SHUTDOWN))
        else:
            if not self.shut:
                self.shut = True
                self.out += 1
            self.steps.append(Step(CLOSE))


def dialogue(seed: int) -> list[Step]:
    """The dialogue of a seed."""
    return Writer(seed).write()
