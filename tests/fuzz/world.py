"""Two live stacks, programs on them and a network between that does whatever it is told, in virtual time.

Whoever drives it (a hypothesis state machine, a fuzzer's bytes) calls its methods; each checks what always holds:

- the invariants of every connection (`tcp/invariants.py`);
- what a program reads is what the other wrote, from the first octet on, unless a packet was forged that a receiver
  cannot tell from a true one (`Flow.tainted` remembers that);
- the memory of both stacks is within its bounds;
- one packet in is answered by few packets out;
- in the end (`finish`) every connection ends, nothing is left, and where nothing was forged, aborted or given up every
  octet has arrived.
"""

from __future__ import annotations

import random
from typing import Final

from tests.fuzz.edits import edit, put_together, take_apart
from tests.fuzz.feed import Feed

from plankroad.endpoint import EVENT_ACCEPT, EVENT_CLOSED, EVENT_ERROR
from plankroad.stack.config import StackConfig
from plankroad.stack.stack import Stack
from plankroad.tcp.config import TcpConfig
from plankroad.tcp.connection import Connection
from plankroad.tcp.constants import CLOSED, STATE_NAMES, SYN_RECEIVED, SYN_SENT, TIME_WAIT
from plankroad.tcp.invariants import check
from plankroad.tcp.listen import Listener
from plankroad.testing.pair import show
from plankroad.units import MILLISECOND, NEVER, SECOND
from plankroad.wire.checksum import complete
from plankroad.wire.constants import PROTO_TCP
from plankroad.wire.packet import Packet
from plankroad.wire.segment import FIN, SYN
from plankroad.wire.tcp import tcp_checksum_ok

A, B = 0, 1
NAMES: Final = ("a", "b")
PORT: Final = 80

#: What the programs write: octet n of a direction is TABLES[direction][n % PERIOD]. No shift of it looks like it.
PERIOD: Final = 65521
TABLES: Final = tuple(random.Random(f"stream {name}").randbytes(PERIOD) * 2 for name in NAMES)

#: Packets that the network holds; the oldest is dropped.
MAX_FLYING: Final = 400
#: Answers without data to one packet: see `World.deliver`.
MAX_ANSWERS: Final = 8
#: Virtual time in which everything that was opened must have ended.
PATIENCE: Final = 12 * 3600 * SECOND


def stream(direction: int, start: int, size: int) -> bytes:
    """Octets `start` to `start + size` of what `direction` writes."""
    at = start % PERIOD
    if at + size <= 2 * PERIOD:
        return TABLES[direction][at : at + size]
    return b"".join(stream(direction, start + i, min(PERIOD, size - i)) for i in range(0, size, PERIOD))


class End:
    """A program's end of a flow: what it wrote, read and did."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.written = 0
        self.read = 0
        self.aborted = False
        self.closed = False
        self.released = False


class Flow:
    """One connection: the client's end, and the server's once it was accepted (the last of several incarnations).

    `tainted[side]`: the side's program may have been given forged octets, so what it reads is not checked.
    """

    def __init__(self, client: End) -> None:
        self.ends: list[End | None] = [client, None]
        self.tainted = [False, False]
        self.iss = [client.connection.tcb.iss, -1]


class Flying:
    """A packet in the network, to the side `to`."""

    __slots__ = ("data", "to")

    def __init__(self, data: bytes, to: int) -> None:
        self.data = data
        self.to = to


class World:
    """`seed`: of what the stacks draw. `log`: what was done and what happened, a line each."""

    def __init__(
        self,
        seed: int = 0,
        configs: tuple[TcpConfig, TcpConfig] | None = None,
        ipv6: bool = False,
        mtu: int = 1500,
    ) -> None:
        self.now = 10 * SECOND
        self.ipv6 = ipv6
        self.log: list[tuple[int, str, Flying | None]] = []
        self.flying: list[Flying] = []
        self.flows: list[Flow] = []
        self.disturbed = False  # somebody meddled, so completeness cannot be asked for
        self.idents = 0
        tcp = configs if configs is not None else (TcpConfig(), TcpConfig())
        self.stacks: list[Stack] = []
        for side in (A, B):
            stack = Stack(StackConfig(tcp=tcp[side]), random.Random(f"{seed} {side}"), bytes([side + 1]) * 16)
            interface = stack.add_interface("e0", mtu)
            stack.add_address(interface, f"10.0.0.{side + 1}/24")
            stack.add_address(interface, f"fd00::{side + 1}/64")
            self.stacks.append(stack)
        self.server = (bytes.fromhex("fd00") + bytes(13) + b"\x02") if ipv6 else b"\x0a\0\0\x02"
        self.listener: Listener = self.stacks[B].listen(self.now, b"", PORT, 8)
        self.settle()

    # Programs

    def open(self) -> Flow:
        """A client connects."""
        flow = Flow(End(self.stacks[A].connect(self.now, self.server, PORT)))
        self.flows.append(flow)
        self.note(f"open flow {len(self.flows) - 1}")
        self.settle()
        return flow

    def end(self, flow: int, side: int) -> End | None:
        """An end of one of the flows, None where it is not there (yet)."""
        return self.flows[flow % len(self.flows)].ends[side] if self.flows else None

    def write(self, flow: int, side: int, size: int, urgent: bool = False) -> None:
        """The program writes."""
        end = self.end(flow, side)
        if end is None or end.closed or end.released or end.aborted:
            return
        data = stream(side, end.written, size)
        try:
            send = end.connection.send_urgent if urgent else end.connection.send
            taken = send(self.now, data)
        except OSError as error:
            self.note(f"{NAMES[side]} cannot write: {error}")
            assert end.connection.tcb.state in (CLOSED, TIME_WAIT)
            return
        assert 0 <= taken <= size
        self.note(f"{NAMES[side]}{flow} writes {taken} of {size}{' urgent' if urgent else ''}")
        end.written += taken
        self.settle()

    def read(self, flow: int, side: int, limit: int) -> None:
        """The program reads."""
        end = self.end(flow, side)
        if end is None or end.released:
            return
        taken = self._read(self.flows[flow % len(self.flows)], side, limit)
        self.note(f"{NAMES[side]}{flow} reads {taken}")
        self.settle()

    def _read(self, flow: Flow, side: int, limit: int) -> int:
        end = flow.ends[side]
        assert end is not None
        chunk = end.connection.next_chunk()
        waiting = end.connection.readable()
        data = end.connection.receive(self.now, limit)
        assert len(data) <= limit
        assert waiting == 0 or limit == 0 or data, "nothing was read although something waits"
        assert chunk <= waiting
        if not flow.tainted[side]:
            other = flow.ends[1 - side]
            assert data == stream(1 - side, end.read, len(data)), f"{NAMES[side]} read other octets than were written"
            if other is not None:
                assert end.read + len(data) <= other.written, f"{NAMES[side]} read more than was written"
        end.read += len(data)
        return len(data)

    def close(self, flow: int, side: int) -> None:
        """Half-close: a FIN follows what was written."""
        end = self.end(flow, side)
        if end is not None and not end.released:
            end.closed = True
            self.note(f"{NAMES[side]}{flow} closes")
            end.connection.close(self.now)
            self.settle()

    def release(self, flow: int, side: int) -> None:
        """The program is gone; octets that it did not read, or that still come, cost a reset."""
        end = self.end(flow, side)
        if end is not None and not end.released:
            end.released = end.closed = True
            self.disturbed = True
            self.note(f"{NAMES[side]}{flow} releases")
            end.connection.release(self.now)
            self.settle()

    def abort(self, flow: int, side: int) -> None:
        """RST."""
        end = self.end(flow, side)
        if end is not None and not end.released:
            end.aborted = True
            self.disturbed = True
            self.note(f"{NAMES[side]}{flow} aborts")
            end.connection.abort(self.now)
            self.settle()

    def set_option(self, flow: int, side: int, name: str, value: int | bool | str) -> None:
        """The program changes its mind."""
        end = self.end(flow, side)
        if end is None:
            return
        self.note(f"{NAMES[side]}{flow} sets {name} to {value!r}")
        if name in ("user_timeout", "keepalive", "linger", "r2", "fin_timeout"):
            self.disturbed = True
        end.connection.set_option(self.now, name, value)
        end.connection.info(self.now)
        self.settle()

    def set_mtu(self, side: int, mtu: int) -> None:
        """The link of a side takes packets of another size from now on."""
        self.note(f"{NAMES[side]}'s link takes {mtu}")
        stack = self.stacks[side]
        stack.set_mtu(self.now, stack.interfaces[0], mtu)
        self.settle()

    # The network

    def deliver(self, index: int) -> None:
        """A packet arrives, any of those that are under way: reordering is delivering another than the first."""
        if self.flying:
            packet = self.flying.pop(index % len(self.flying))
            self._arrive(packet.data, packet.to, "")

    def drop(self, index: int) -> None:
        """A packet is lost."""
        if self.flying:
            packet = self.flying.pop(index % len(self.flying))
            self.note("dropped: ", packet)

    def duplicate(self, index: int) -> None:
        """A packet arrives, and a copy of it is still under way."""
        if self.flying:
            packet = self.flying[index % len(self.flying)]
            self._arrive(packet.data, packet.to, "a copy of ")

    def change(self, index: int, recipe: Feed, keep: bool) -> None:
        """Something else arrives than was sent; where `keep`, the true packet is still under way."""
        if not self.flying:
            return
        index %= len(self.flying)
        packet = self.flying[index] if keep else self.flying.pop(index)
        self.idents += 1
        arriving, words = edit(packet.data, recipe, self.idents)
        self.note(f"changed ({words}): ", packet)
        self.disturbed = True
        src = packet.data[12:16] if packet.data[0] >> 4 == 4 else packet.data[8:24]
        for data in arriving:
            # An ICMP error is for the sender.
            to = packet.to
            if len(data) >= 40 and (data[16:20] if data[0] >> 4 == 4 else data[24:40]) == src:
                to = 1 - to
            self._arrive(data, to, "")

    def corrupt(self, index: int, at: int) -> None:
        """A packet arrives with one bit wrong, which its checksums tell; the true one is still under way."""
        if self.flying:
            packet = self.flying[index % len(self.flying)]
            # The headers of IPv6 have no checksum: from the transport's on.
            start = 20 if packet.data[0] >> 4 == 4 else 40
            at = start * 8 + at % (8 * (len(packet.data) - start))
            wrong = bytes([packet.data[at // 8] ^ 1 << at % 8])
            self.note(f"bit {at} is wrong: ", packet)
            self._arrive(packet.data[: at // 8] + wrong + packet.data[at // 8 + 1 :], packet.to, "")

    def resegment(self, index: int, before: int, after: int) -> None:
        """A segment with the octets of one under way, and some of those before and after it, arrives too: so TCPs send
        again that have changed their segment size.
        """
        flying = self.flying[index % len(self.flying)] if self.flying else None
        parts = take_apart(flying.data) if flying is not None else None
        if flying is None or parts is None or not parts.seg.payload:
            return
        seg = parts.seg
        for flow in self.flows:
            client, sender = flow.ends[A], flow.ends[1 - flying.to]
            assert client is not None
            if sender is None or client.connection.local_port not in (seg.src_port, seg.dst_port):
                continue
            # A SYN's octets begin behind it.
            start = (seg.seq + (seg.flags & SYN != 0) - flow.iss[1 - flying.to] - 1) & 0xFFFFFFFF
            if start + len(seg.payload) > sender.written:
                return
            first = max(0, start - before)
            t = sender.connection.tcb
            last = min(sender.written, t.snd_max - t.iss - 1, start + len(seg.payload) + after)
            if last < first:
                return
            seg.seq = (seg.seq + (seg.flags & SYN != 0) + first - start) & 0xFFFFFFFF
            seg.flags &= ~(SYN | FIN)
            seg.payload = stream(1 - flying.to, first, last - first)
            self.note(f"again, {start - first} and {last - start - len(seg.payload)} octets more: ", flying)
            self._arrive(put_together(parts), flying.to, "")
            return

    def carry(self, count: int) -> None:
        """The network does its duty: up to `count` packets arrive in order."""
        for _ in range(count):
            if not self.flying:
                return
            self.deliver(0)

    def _arrive(self, data: bytes, to: int, words: str) -> None:
        self.note(words, Flying(data, to))
        self._judge(data, to)
        stack = self.stacks[to]
        before = len(self.flying)
        stack.receive(self.now, Packet(data))
        answers = self.settle()
        assert answers <= MAX_ANSWERS, f"{answers} packets without data in answer to one"
        assert len(self.flying) - before <= MAX_FLYING

    def _judge(self, data: bytes, to: int) -> None:
        """Could the receiver take these octets for its peer's although they are not?"""
        at, last = transport(data)
        if at < 0 or (at + (data[at + 12] >> 4 << 2) == last and not data[at + 13] & SYN):
            return
        parts = take_apart(data)
        if parts is None or not tcp_checksum_ok(data, at, last, parts.src, parts.dst):
            return
        seg = parts.seg
        for flow in self.flows:
            client = flow.ends[A]
            assert client is not None
            port = client.connection.local_port
            if (seg.src_port, seg.dst_port) != ((port, PORT) if to == B else (PORT, port)):
                continue
            sender = 1 - to
            iss = flow.iss[sender]
            if seg.flags & SYN and seg.seq != iss:
                flow.tainted[to] = True
            elif seg.payload:
                start = (seg.seq + (1 if seg.flags & SYN else 0) - iss - 1) & 0xFFFFFFFF
                if iss < 0 or start > 1 << 31 or seg.payload != stream(sender, start, len(seg.payload)):
                    flow.tainted[to] = True
                end = flow.ends[sender]
                if end is None or start + len(seg.payload) > end.written:
                    # It is what the program would write, and has not yet.
                    flow.tainted[to] = True

    # Time

    def advance(self, duration: int) -> None:
        """Time passes, with all deadlines in it."""
        end = self.now + duration
        rounds = 0
        while True:
            when = min(stack.next_timeout() for stack in self.stacks)
            if when > end:
                break
            # Pacing at the lowest rates has a deadline a millisecond at most; more is a busy loop.
            rounds += 1
            assert rounds <= 20 + 20 * (duration // MILLISECOND + 1), "deadlines without end"
            self.now = max(self.now, when)
            for stack in self.stacks:
                stack.handle_timeout(self.now)
            self.settle()
        self.now = end
        self.note(f"{duration / SECOND:g} s pass")

    # Looking

    def settle(self) -> int:
        """All output goes to the network, the programs hear of events; returns how many packets carry no data."""
        bare = 0
        for side, stack in enumerate(self.stacks):
            count = 0
            while True:
                while (packet := stack.poll_transmit(self.now)) is not None:
                    count += 1
                    assert count < 20_000, "output without end"
                    data = complete(packet).to_bytes()
                    flying = Flying(data, 1 - side)
                    self.note("    sent: ", flying)
                    at, end = transport(data)
                    if at < 0 or at + (data[at + 12] >> 4 << 2) == end:
                        bare += 1
                    if at >= 0 and side == B and data[at + 13] & SYN:
                        self._learn(data)
                    self.flying.append(flying)
                if not self._events(side, stack):
                    break
        if len(self.flying) > MAX_FLYING:
            self.disturbed = True
            del self.flying[: len(self.flying) - MAX_FLYING]
        self.check()
        return bare

    def _learn(self, data: bytes) -> None:
        """What initial sequence number the server has: from its SYN, ACK."""
        parts = take_apart(data)
        assert parts is not None
        for flow in self.flows:
            client = flow.ends[A]
            if client is not None and client.connection.local_port == parts.seg.dst_port:
                if flow.iss[B] not in (-1, parts.seg.seq):
                    # Another incarnation: packets of the one before it may still be under way.
                    self.disturbed = True
                flow.iss[B] = parts.seg.seq

    def _events(self, side: int, stack: Stack) -> bool:
        endpoint = stack.poll_endpoint()
        if endpoint is None:
            return False
        events = endpoint.poll_events()
        if isinstance(endpoint, Listener):
            assert events & EVENT_ACCEPT
            while (connection := endpoint.accept()) is not None:
                self._accepted(connection)
        elif isinstance(endpoint, Connection) and events & (EVENT_ERROR | EVENT_CLOSED) and endpoint.error:
            self.note(f"    {NAMES[side]} port {endpoint.local_port}: error {endpoint.error}")
        return True

    def _accepted(self, connection: Connection) -> None:
        for number, flow in enumerate(self.flows):
            client = flow.ends[A]
            assert client is not None
            if client.connection.local_port == connection.remote_port:
                if flow.ends[B] is not None:
                    self.disturbed = True
                    self._forget(flow)
                flow.ends[B] = End(connection)
                flow.iss[B] = connection.tcb.iss
                if connection.tcb.irs != flow.iss[A]:
                    flow.tainted[B] = True
                self.note(f"    b accepts flow {number}")
                return
        # A stranger of the network's making.
        self.note("    b accepts a stranger, and aborts")
        connection.abort(self.now)

    def _forget(self, flow: Flow) -> None:
        """An earlier incarnation of the server's end: its program goes."""
        old = flow.ends[B]
        assert old is not None
        if not old.released:
            old.connection.release(self.now)
        # What the client has of its stream and what the new one writes do not fit.
        flow.tainted[A] = True

    def check(self) -> None:
        """What always holds."""
        for stack in self.stacks:
            held = 0
            for path in stack.connections.values():
                connection = path.connection
                if not connection.queued:
                    check(connection.tcb)
                t = connection.tcb
                held += t.rcv_queued + t.reassembly.memory() + len(t.snd_buf)
                assert len(t.scoreboard.ranges) - t.scoreboard.head() < 20_000
                assert len(t.dsacks) < 100
            assert stack.fragments.memory <= stack.config.reassembly_memory
            assert len(stack.timers.heap) <= 64 + 4 * len(stack.timers.wanted)
            assert len(stack.loopback_queue) == len(stack.output) == 0
            assert len(stack.connections) <= 64

    def finish(self) -> None:
        """The network is good again, programs read all, write no more, and close: all must end."""
        self.note("the end begins")
        limit = self.now + PATIENCE
        steps = 0
        while True:
            steps += 1
            assert steps < 100_000, "it does not end: " + self.states()
            self.carry(1000)
            self._wind_up()
            if self.flying:
                continue
            when = min(stack.next_timeout() for stack in self.stacks)
            if when >= NEVER:
                if not self._give_up():
                    break
                continue
            assert when <= limit, "it does not end: " + self.states()
            self.now = max(self.now, when)
            for stack in self.stacks:
                stack.handle_timeout(self.now)
            self.settle()
        self.listener.close(self.now)
        self.settle()
        for side, stack in enumerate(self.stacks):
            left = {name: count for name, count in stack.leftovers().items() if count}
            assert not left, f"{NAMES[side]} has leftovers: {left}: {self.states()}"
        if not self.disturbed:
            self._complete()

    def _wind_up(self) -> None:
        for flow in self.flows:
            for side, end in enumerate(flow.ends):
                if end is None or end.released:
                    continue
                self._read(flow, side, 1 << 30)
                connection = end.connection
                if connection.tcb.state in (SYN_SENT, SYN_RECEIVED):
                    continue  # nobody would know whether what was written arrived
                if not end.closed:
                    end.closed = True
                    connection.close(self.now)
                elif connection.at_eof() or connection.tcb.state in (CLOSED, TIME_WAIT):
                    end.released = True
                    connection.release(self.now)
        self.settle()

    def _give_up(self) -> bool:
        """Nothing more will happen: whoever half-closed and waits for a peer that is gone goes too."""
        waiting = [end for flow in self.flows for end in flow.ends if end is not None and not end.released]
        for end in waiting:
            end.released = True
            end.connection.release(self.now)
        self.settle()
        return bool(waiting)

    def _complete(self) -> None:
        for number, flow in enumerate(self.flows):
            client, server = flow.ends
            assert client is not None
            if server is None:
                assert client.connection.error or client.closed, f"flow {number} was never accepted, without an error"
                continue
            errors = [client.connection.error, server.connection.error]
            if any(errors):
                # Time went by without the network: connections may be given up.
                self.note(f"flow {number} ended with {errors}")
                continue
            for end, other in ((client, server), (server, client)):
                assert end.read == other.written, f"flow {number}: {end.read} of {other.written} octets were read"

    def states(self) -> str:
        """Where all connections stand."""
        found = []
        for side, stack in enumerate(self.stacks):
            for path in stack.connections.values():
                t = path.connection.tcb
                found.append(f"{NAMES[side]} {t.name()} {STATE_NAMES[t.state]} {t.timers}")
        return "; ".join(found) or "no connection is left"

    def note(self, line: str, packet: Flying | None = None) -> None:
        """One more line for the log, a packet at its end."""
        self.log.append((self.now, line, packet))

    def describe(self, packet: Flying) -> str:
        """A packet in a few words."""
        parts = take_apart(packet.data)
        way = f"{NAMES[1 - packet.to]}>{NAMES[packet.to]}"
        if parts is None:
            return f"{way} {len(packet.data)} bytes {packet.data[:28].hex()}"
        seg = parts.seg
        for flow in self.flows:
            client = flow.ends[A]
            if client is not None and client.connection.local_port in (seg.src_port, seg.dst_port):
                ours, theirs = flow.iss[1 - packet.to], flow.iss[packet.to]
                return f"{way} {show(seg, max(ours, 0), max(theirs, 0))}"
        return f"{way} {seg.src_port}>{seg.dst_port} {show(seg)}"

    def tell(self, last: int = 120) -> str:
        """The end of the log, for whoever reads of a failure."""
        lines = []
        for when, line, packet in self.log[-last:]:
            lines.append(f"{when / SECOND:14.6f}  {line}{self.describe(packet) if packet is not None else ''}")
        return "\n".join(lines)


def transport(packet: bytes) -> tuple[int, int]:
    """Where the TCP segment of a packet begins and ends; -1 where there is none, or not a whole header of it."""
    if len(packet) < 40:
        return -1, -1
    if packet[0] >> 4 == 4:
        at, end = (packet[0] & 15) * 4, packet[2] << 8 | packet[3]
        if packet[9] != PROTO_TCP or packet[6] & 0x3F or packet[7]:
            return -1, -1
    else:
        at, end = 40, 40 + (packet[4] << 8 | packet[5])
        if packet[6] != PROTO_TCP:
            return -1, -1
    return (at, end) if at + 20 <= end <= len(packet) else (-1, -1)
