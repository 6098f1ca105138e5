"""Captures, of whatever and from wherever, as hostile input: through readers, parsers, a host and the flow rebuilder.

Nothing may be raised but the documented errors: `CaptureError` for a file, `BadPacket` for a packet. Every packet goes

- through the wire parsers, from its link header on, and as if it began with an IP header;
- into a host as it stands, and rewritten so that it is for that host, checksums mended, ports where somebody listens;
- into the flow rebuilder, with its file.

The time that each step takes is measured; `Totals` remembers the worst.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from tests.fuzz.edits import mend
from tests.fuzz.targets import bounded
from tests.stack.net import B4, B6, Lone, Net
from tests.stack.samples import busy
from tests.wire.reading import read_frame, read_ipv4, read_ipv6

from plankroad.pcap import LINKTYPE_ETHERNET, CapturedPacket, CaptureError, CaptureReader
from plankroad.pcap.decode import network_offset
from plankroad.pcap.flows import rebuild
from plankroad.stack.config import StackConfig
from plankroad.stack.stack import Stack
from plankroad.units import SECOND
from plankroad.wire.errors import BadPacket
from plankroad.wire.packet import Packet

MAC: Final = b"\x02\0\0\0\0\x01"

#: Packets of one file that are fed; a file of millions says no more than its beginning.
MOST: Final = 20_000


class Totals:
    """What was fed, and what came of it. `slowest`: seconds, step, file and number of the packet, worst first."""

    def __init__(self) -> None:
        self.files = 0
        self.refused: list[str] = []
        self.broken: list[str] = []
        self.packets = 0
        self.steps = 0
        self.kinds: Counter[str] = Counter()
        self.answers = 0
        self.flows: Counter[str] = Counter()
        self.failures: list[str] = []
        self.slowest: list[tuple[float, str, str, int]] = []

    def timed(self, step: str, where: str, number: int, work: Callable[[], object], packets: int = 1) -> None:
        """Do a step; what it must not raise becomes a failure. `packets`: among so many its time is shared out."""
        begin = time.thread_time()
        try:
            work()
        except BadPacket:
            self.kinds["BadPacket"] += 1
        except Exception as error:
            self.failures.append(f"{where} packet {number}, {step}: {type(error).__name__}: {error}")
        self.steps += 1
        took = (time.thread_time() - begin) / packets
        if len(self.slowest) < 10 or took > self.slowest[-1][0]:
            self.slowest.append((took, step, where, number))
            self.slowest.sort(reverse=True)
            del self.slowest[10:]

    def report(self) -> str:
        """All of it in lines."""
        worst = self.slowest[0][0] * 1000 if self.slowest else 0.0
        lines = [
            f"{self.files} files: {len(self.refused)} are no capture, {len(self.broken)} break off or are damaged",
            f"{self.packets:,} packets in {self.steps:,} steps: {self.kinds['BadPacket']:,} times BadPacket, "
            f"{self.answers:,} packets in answer",
            f"flows rebuilt: {self.flows['tcp']:,} TCP, {self.flows['udp']:,} UDP; "
            f"damaged packets {self.flows['damaged']:,}, others {self.flows['others']:,}",
            f"slowest packet: {worst:.1f} ms",
        ]
        for took, step, where, number in self.slowest[:3]:
            lines.append(f"    {took * 1000:.1f} ms: {step}, {where} packet {number}")
        lines.append(f"{len(self.failures)} failures")
        lines += [f"    {failure}" for failure in self.failures[:50]]
        return "\n".join(lines)


def feed_file(path: Path, totals: Totals, name: str = "") -> None:
    """One file through everything."""
    where = name or path.name
    totals.files += 1
    packets: list[CapturedPacket] = []
    try:
        with CaptureReader(path) as reader:
            for packet in reader:
                packets.append(packet)
                if len(packets) >= MOST:
                    break
            if reader.problem:
                totals.broken.append(f"{where}: {reader.problem}")
    except CaptureError as error:
        totals.refused.append(f"{where}: {error}")
        return
    except Exception as error:
        totals.failures.append(f"{where}: reading: {type(error).__name__}: {error}")
        return
    totals.packets += len(packets)
    feed_packets(packets, totals, where)


def feed_packets(packets: list[CapturedPacket], totals: Totals, where: str) -> None:
    """The packets of one file, in its order."""
    for packet in packets:
        totals.timed("parsers", where, packet.number, lambda: parse(packet))  # noqa: B023 - called at once
    feed_host(packets, totals, where)
    for verify in (True, False):
        totals.timed("flows", where, 0, lambda: rebuild_all(packets, verify, totals), max(1, len(packets)))  # noqa: B023


def parse(packet: CapturedPacket) -> None:
    """Through the parsers, from the link header where that is known, and as IP from the first octet."""
    data = packet.data
    attempts: list[Callable[[], None]] = [
        lambda: read_frame(data),
        lambda: read_ipv4(data, 0),
        lambda: read_ipv6(data, 0),
    ]
    try:
        start = network_offset(packet)
    except BadPacket:
        start = -1
    if start > 0:
        attempts += [lambda: read_ipv4(data, start), lambda: read_ipv6(data, start)]
    good = 0
    for attempt in attempts:
        try:
            attempt()
            good += 1
        except BadPacket:
            continue
    if not good:
        raise BadPacket("no parser takes it")


class Hosts:
    """A host without and one with Ethernet, which receive what is fed."""

    def __init__(self) -> None:
        self.lone: Lone = busy(StackConfig(forwarding=True, source_route=True))
        net = Net()
        self.ethernet: Stack = net.add(3)
        interface = self.ethernet.add_interface("e0", 1500, ethernet=True, mac=MAC)
        self.ethernet.add_address(interface, "10.0.0.2/24")
        self.ethernet.add_address(interface, "fd00::2/64")
        self.ethernet.listen(0, b"", 80)
        self.now = 0
        self.answers = 0

    def tick(self, time: int) -> None:
        """Time goes on with the capture's, a second between two packets at most."""
        self.now += min(max(time, 0), SECOND)
        if self.now > self.lone.now:
            self.answers += len(self.lone.pass_time(self.now - self.lone.now))
        self.ethernet.handle_timeout(self.now)

    def give(self, data: bytes, valid: bool = False) -> None:
        """An IP packet."""
        answers = len(self.lone.give(data, csum_valid=valid))
        self.answers += answers
        assert answers <= 64, f"{answers} packets in answer to one"
        bounded(self.lone)

    def give_frame(self, data: bytes) -> None:
        """An Ethernet frame."""
        self.ethernet.receive(self.now, Packet(data))
        answers = 0
        while self.ethernet.poll_transmit(self.now) is not None:
            answers += 1
        assert answers <= 64, f"{answers} frames in answer to one"


def feed_host(packets: Iterable[CapturedPacket], totals: Totals, where: str) -> None:
    """Into hosts: as it stands, rewritten, as a frame, and a frame for us."""
    hosts = Hosts()
    before = 0
    for packet in packets:
        data = packet.data
        totals.timed("timers", where, packet.number, lambda: hosts.tick(packet.time - before))  # noqa: B023
        before = packet.time
        try:
            start = network_offset(packet)
        except BadPacket:
            start = -1
        ip = data[max(start, 0) :]
        totals.timed("as it stands", where, packet.number, lambda: hosts.give(ip))  # noqa: B023
        for rewritten in rewrites(ip):
            totals.timed("for us", where, packet.number, lambda: hosts.give(rewritten))  # noqa: B023
        if packet.interface.link_type == LINKTYPE_ETHERNET:
            totals.timed("frame", where, packet.number, lambda: hosts.give_frame(data))  # noqa: B023
            totals.timed("frame for us", where, packet.number, lambda: hosts.give_frame(MAC + data[6:]))  # noqa: B023
    totals.answers += hosts.answers


def rewrites(ip: bytes) -> list[bytes]:
    """An IP packet as if it had been sent to us: to our address, and further to a port where somebody listens."""
    if len(ip) < 20:
        return []
    if ip[0] >> 4 == 4:
        ours = ip[:16] + B4 + ip[20:]
        start, protocol = (ip[0] & 15) * 4, ip[9]
    elif ip[0] >> 4 == 6 and len(ip) >= 40:
        ours = ip[:24] + B6 + ip[40:]
        start, protocol = 40, ip[6]
    else:
        return []
    found = [mend(ours)]
    port = {6: b"\0\x50", 17: b"\0\x35"}.get(protocol)
    if port is not None and len(ours) >= start + 8:
        ours = ours[: start + 2] + port + ours[start + 4 :]
        if protocol == 17:
            # A checksum of zero is none (RFC 768).
            ours = ours[: start + 6] + b"\0\0" + ours[start + 8 :]
        found.append(mend(ours))
    return found


def rebuild_all(packets: list[CapturedPacket], verify: bool, totals: Totals) -> None:
    """The flows of a file, their streams and ladders."""
    flows = rebuild(packets, verify_checksums=verify)
    if verify:
        totals.flows.update(tcp=len(flows.tcp), udp=len(flows.udp), damaged=len(flows.damaged), others=flows.others)
    for flow in flows.tcp:
        flow.is_complete()
        for stream in flow.streams:
            stream.gaps()
            stream.data()
        flow.ladder().draw()
