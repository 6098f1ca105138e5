"""One seed, one story: two hosts, routers between them, a network that does its worst, and two programs that write,
read, pause and close as they like. In the end both have every octet, both connections are CLOSED, and nothing is left.

    python -m plankroad.testing.chaos 4711        # run one seed again, and tell what happened in it

All of a seed's choices are made from it alone, before and during the run. The invariants of both connections are
checked after every event of the simulation.
"""

from __future__ import annotations

import argparse
import hashlib
import random
from itertools import pairwise
from typing import Any

from plankroad.endpoint import (
    EVENT_ACCEPT,
    EVENT_CLOSED,
    EVENT_EOF,
    EVENT_ERROR,
    EVENT_READABLE,
    EVENT_WRITABLE,
)
from plankroad.sim.conditions import Burst
from plankroad.sim.host import Host
from plankroad.sim.link import Link
from plankroad.sim.topology import Network
from plankroad.stack.config import StackConfig
from plankroad.tcp.config import TcpConfig
from plankroad.tcp.connection import Connection
from plankroad.tcp.constants import CLOSED, ESTABLISHED, TIME_WAIT
from plankroad.tcp.invariants import check, dump
from plankroad.tcp.listen import Listener
from plankroad.units import MILLISECOND, NEVER, SECOND
from plankroad.wire.address import ip_to_bytes

#: Virtual time after which a story has hung.
PATIENCE = 4 * 3600 * SECOND


class Program:
    """Writes `data` in pieces of its own size, reads when it likes, closes its side when all is written."""

    def __init__(self, story: Chaos, name: str, host: Host, data: bytes) -> None:
        self.story = story
        self.name = name
        self.host = host
        self.data = data
        self.written = 0
        self.read = hashlib.sha256()
        self.octets = 0
        self.reading = True
        self.closed = False
        self.released = False
        self.eof = False
        self.error = 0
        self.connection: Connection | None = None
        self.acts = 0
        self.checked = -1
        self.waiting = False  # for room to write

    def start(self, connection: Connection) -> None:
        """The connection is there: act on it from now on."""
        self.connection = connection
        connection.owner = self
        self.handle_events(EVENT_READABLE)
        self.act()

    def handle_events(self, events: int) -> None:
        """What the driver tells."""
        assert self.connection is not None
        if events & (EVENT_READABLE | EVENT_EOF) and self.reading:
            self.take(1 << 30)
        if events & EVENT_WRITABLE and self.waiting:
            self.waiting = False
            self.story.net.simulator.call_in(1, self.act)
        if events & EVENT_ERROR:
            self.error = self.connection.error
        if events & EVENT_CLOSED and self.connection.error:
            self.error = self.connection.error

    def take(self, limit: int) -> None:
        """Read."""
        assert self.connection is not None
        while data := self.connection.receive(self.host.now, limit):
            self.read.update(data)
            self.octets += len(data)
            if limit < 1 << 30:
                break
        if self.connection.at_eof():
            self.eof = True
        self.finish()

    def act(self) -> None:
        """One random act, and the time of the next."""
        connection = self.connection
        assert connection is not None
        if connection.tcb.state in (CLOSED, TIME_WAIT):
            return
        self.acts += 1
        rng = self.story.rng
        now = self.host.now
        dice = rng.random()
        if dice < 0.08:
            self.reading = not self.reading
        elif dice < 0.2 and not self.reading:
            self.take(rng.randrange(1, 5000))
        if self.reading:
            self.take(1 << 30)
        if self.written < len(self.data):
            if rng.random() < 0.7:
                piece = self.data[self.written : self.written + rng.randrange(1, self.story.largest_write)]
                taken = connection.send(now, piece)
                self.written += taken
                self.waiting = taken == 0 and self.reading
        elif not self.closed and connection.tcb.state >= ESTABLISHED:
            self.closed = True
            self.reading = True
            connection.close(now)
            self.take(1 << 30)
        elif not self.reading:
            self.reading = True
            self.take(1 << 30)
        self.finish()
        self.host.driver.push()
        if self.waiting or (self.closed and self.reading):
            return  # the rest is the connection's
        pause = rng.choice((0, 1000, MILLISECOND, 20 * MILLISECOND, self.story.longest_pause))
        self.story.net.simulator.call_in(rng.randrange(pause + 1) + 1, self.act)

    def finish(self) -> None:
        """Both directions are done: nobody needs the connection any more."""
        if self.closed and self.eof and not self.released:
            self.released = True
            assert self.connection is not None
            self.connection.release(self.host.now)


class Chaos:
    """The story of one seed; `run` tells it. AssertionError names the seed and what went wrong."""

    def __init__(self, seed: int, octets: int = 60_000) -> None:
        self.seed = seed
        self.rng = random.Random(f"chaos {seed}")
        rng = self.rng
        self.largest_write = rng.choice((10, 1000, 5000, 100_000))
        self.longest_pause = rng.choice((10, 200, 3000)) * MILLISECOND
        if self.largest_write == 10:
            octets = min(octets, 3000)
        multipath = rng.choice((None, "packet", "flow"))
        self.net = Network(seed, multipath=multipath, max_events=20_000_000)
        self.ipv6 = rng.random() < 0.4
        a_tcp = self._tcp_config()
        b_tcp = self._tcp_config()
        # Drawn apart, so that the rest of a story does not depend on it.
        ecn = random.Random(f"chaos ecn {seed}")
        a_tcp.ecn = ecn.choice(("off", "passive", "on", "accecn", "accecn"))
        b_tcp.ecn = ecn.choice(("off", "passive", "passive", "on", "accecn"))
        self.mark = ecn.choice((None, 1, 5, 15))
        self.a_host = self.net.host("a", StackConfig(tcp=a_tcp))
        self.b_host = self.net.host("b", StackConfig(tcp=b_tcp))
        self.links: list[Link] = []
        self.corrupting = False
        self._topology()
        self._timeline()
        self.a = Program(self, "a", self.a_host, rng.randbytes(rng.randrange(octets)))
        self.b = Program(self, "b", self.b_host, rng.randbytes(rng.randrange(octets)))
        self.listener: Listener | None = None
        self.events = 0

    def _tcp_config(self) -> TcpConfig:
        rng = self.rng
        config = TcpConfig(
            snd_buf=rng.choice((0, 2048, 20_000, 1 << 20)),
            rcv_buf=rng.choice((0, 1500, 10_000, 65_535, 1 << 20)),
            mtu_probing=rng.choice(("off", "black_hole", "on")),
            nagle=rng.choice(("minshall", "classic", "off")),
            cork=rng.random() < 0.1,
            congestion_control=rng.choice(("cubic", "newreno")),
            initial_window=rng.choice((1, 4, 10, 10, 40)),
            max_segment=rng.choice((0, 0, 0, 100, 536)),
            sack=rng.random() < 0.75,
            dsack=rng.random() < 0.75,
            timestamps=rng.random() < 0.75,
            window_scaling=rng.random() < 0.8,
            delayed_ack=rng.choice((0, 40, 200)) * MILLISECOND,
            quick_acks=rng.choice((0, 16)),
            min_rto=rng.choice((200, 1000)) * MILLISECOND,
            # A lost last ACK is repeated within TIME-WAIT, however often it takes, only if the peer asks often enough.
            max_rto=10 * SECOND,
            msl=120 * SECOND,
            fin_timeout=600 * SECOND,
            r2=0,
            syn_timeout=3600 * SECOND,
            syn_soft_error_retries=0,
            synack_retries=60,
        )
        config.validate()
        return config

    def _topology(self) -> None:
        """Host a, one to three routers in a row, perhaps a second way around, host b."""
        rng = self.rng
        net = self.net
        routers = [net.router(f"r{i}") for i in range(rng.randrange(1, 4))]
        self.links.append(net.link("a", routers[0], **self._conditions(0.3)))
        for left, right in pairwise(routers):
            self.links.append(net.link(left, right, **self._conditions(0.6)))
        if len(routers) > 1 and rng.random() < 0.6:
            around = net.router("around")
            self.links.append(net.link(routers[0], around, **self._conditions(0.6)))
            self.links.append(net.link(around, routers[-1], **self._conditions(0.3)))
        self.links.append(net.link(routers[-1], "b", **self._conditions(0.3)))

    def _conditions(self, faulty: float) -> dict[str, Any]:
        """Of one link; with probability `faulty` it has faults of every kind."""
        rng = self.rng
        conditions: dict[str, Any] = {
            "rate": rng.choice((0, 1_000_000, 10_000_000, 1_000_000_000)) or None,
            "delay": rng.choice((0.0, 0.0001, 0.005, 0.05)),
            "mtu": rng.choice((1500, 1500, 9000, 1280, 1400)),
            "queue": rng.choice((3, 20, 1000)),
            "ethernet": rng.random() < 0.2,
            "mark": self.mark,
        }
        if rng.random() < faulty:
            conditions["loss"] = rng.choice((0.0, 0.01, 0.1, 0.3))
            conditions["duplicate"] = rng.choice((0.0, 0.05, 0.2))
            if not self.corrupting:
                # On one link only: two flips in one packet may cancel out in its checksum, and then no TCP can help.
                conditions["corrupt"] = rng.choice((0.0, 0.02, 0.1))
                self.corrupting = True
            conditions["reorder"] = rng.choice((0.0, 0.1, 0.3))
            conditions["reorder_delay"] = rng.choice((0.001, 0.05))
            if rng.random() < 0.3:
                conditions["burst"] = Burst.of(0.05, rng.choice((2, 5)))
        if rng.random() < 0.2:
            conditions["jitter"] = conditions["delay"] / 2
            conditions["jitter_reorders"] = rng.random() < 0.5
        return conditions

    def _timeline(self) -> None:
        """Cuts, one-way cuts, flaps and changes of MTU in the first minute."""
        rng = self.rng
        for link in self.links:
            if rng.random() < 0.3:
                start = rng.random() * 20
                toward = rng.choice((None, link.ends[0], link.ends[1]))
                link.cut(toward, at=start)
                link.heal(toward, at=start + rng.random() * 8)
            if rng.random() < 0.15:
                start = rng.random() * 10
                for i in range(rng.randrange(2, 6)):
                    link.cut(at=start + i * 0.7)
                    link.heal(at=start + i * 0.7 + 0.3)
            if rng.random() < 0.25:
                link.set(at=rng.random() * 10, mtu=rng.choice((1280, 1300, 1500)))

    def run(self) -> None:
        """Tell the story to its end, and check it."""
        try:
            self._open()
            self._play()
            self._judge()
        except AssertionError as error:
            raise AssertionError(f"seed {self.seed}: {error}\n{self.describe()}") from error

    def handle_events(self, events: int) -> None:
        """The listener's: accept."""
        assert self.listener is not None
        if events & EVENT_ACCEPT:
            connection = self.listener.accept()
            if connection is not None:
                self.b.start(connection)

    def _open(self) -> None:
        address = next(a for a in self.b_host.addresses if (":" in a) == self.ipv6)
        self.net.run_for(0)
        self.listener = self.b_host.stack.listen(self.b_host.now, b"", 80, backlog=1)
        self.listener.owner = self
        connection = self.a_host.stack.connect(self.a_host.now, ip_to_bytes(address), 80)
        self.a.start(connection)
        self.a_host.driver.push()

    def _play(self) -> None:
        simulator = self.net.simulator
        end = simulator.now + PATIENCE
        while not self._over():
            if simulator.next_time() == NEVER or simulator.now > end:
                break
            simulator.step()
            self.events += 1
            for program in (self.a, self.b):
                connection = program.connection
                if connection is None or connection.queued:
                    continue
                # A packet that passes a router changes neither end.
                changes = program.host.driver.flushes + program.acts
                if changes != program.checked:
                    program.checked = changes
                    check(connection.tcb)
        assert self._over(), "it hangs"

    def _over(self) -> bool:
        return all(p.connection is not None and p.connection.tcb.state == CLOSED for p in (self.a, self.b))

    def _judge(self) -> None:
        assert self.listener is not None
        for program, other in ((self.a, self.b), (self.b, self.a)):
            assert program.error == 0, f"{program.name} ended with errno {program.error}"
            assert program.octets == len(other.data), f"{program.name} read {program.octets} of {len(other.data)}"
            assert program.read.digest() == hashlib.sha256(other.data).digest(), f"{program.name} read other octets"
            assert program.eof, f"{program.name} saw no end"
        self.listener.close(self.b_host.now)
        self.b_host.driver.push()
        # Fragments and the like are given time to expire.
        self.net.run_for(600)
        for host in (self.a_host, self.b_host):
            left = {name: count for name, count in host.stack.leftovers().items() if count}
            assert not left, f"{host.name} has leftovers: {left}"

    def describe(self) -> str:
        """Where the two ends stand."""
        lines = [f"at {self.net.simulator.now / SECOND:.6f} s after {self.events} events, IPv{6 if self.ipv6 else 4}"]
        for program in (self.a, self.b):
            lines.append(
                f"{program.name}: written {program.written} of {len(program.data)}, read {program.octets}, "
                f"eof {program.eof}, closed {program.closed}, error {program.error}"
            )
            if program.connection is not None:
                lines.append(f"    {program.connection.state()} {dump(program.connection.tcb)}")
                config = program.connection.tcb.config
                lines.append(
                    f"    sack {config.sack} ts {config.timestamps} nagle {config.nagle} rcv {config.rcv_buf}"
                )
        lines.append(f"network: { {name: n for name, n in self.net.counters().items() if n} }")
        lines.append(f"run it again: python -m plankroad.testing.chaos {self.seed}")
        return "\n".join(lines)


def main() -> None:
    """Run the seeds that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("first", type=int, help="the seed")
    parser.add_argument("last", type=int, nargs="?", help="and all seeds up to this one")
    parser.add_argument("--pcap", help="write a capture of the (only) story to this file")
    arguments = parser.parse_args()
    last = arguments.first if arguments.last is None else arguments.last
    failed = 0
    for seed in range(arguments.first, last + 1):
        story = Chaos(seed)
        capture = story.net.capture(arguments.pcap) if arguments.pcap else None
        try:
            story.run()
        except AssertionError as error:
            failed += 1
            print(error)
        else:
            if last == arguments.first:
                print(story.describe())
        if capture is not None:
            capture.close()
    print(f"{last - arguments.first + 1 - failed} passed, {failed} failed")
    raise SystemExit(1 if failed else 0)


if __name__ == "__main__":
    main()
