"""What a packet, a timer and a new port cost does not depend on how many connections there are.

Calls are counted, not time: the verdict is the same on any machine.
"""

from __future__ import annotations

import gc
import random
import sys
from collections.abc import Callable
from types import FrameType

import pytest

from plankroad.stack.config import StackConfig
from plankroad.stack.stack import Stack
from plankroad.tcp.connection import Connection
from plankroad.units import NEVER, SECOND
from plankroad.wire.address import ip_to_bytes
from plankroad.wire.constants import PROTO_TCP
from plankroad.wire.ipv4 import build_ipv4, parse_ipv4
from plankroad.wire.packet import Packet
from plankroad.wire.segment import ACK, PSH, SYN, Segment
from plankroad.wire.tcp import build_tcp, parse_tcp

# Compiled functions cannot be counted; their source is the same.
pytestmark = pytest.mark.either

OURS, PEER = ip_to_bytes("10.0.0.1"), ip_to_bytes("10.0.0.2")
NOW = 100 * SECOND


def packet(seg: Segment) -> Packet:
    head = build_tcp(seg, PEER, OURS)
    return Packet(build_ipv4(PEER, OURS, PROTO_TCP, len(head) + len(seg.payload)) + head + seg.payload)


def drain(stack: Stack) -> list[Segment]:
    out = []
    while (sent := stack.poll_transmit(NOW)) is not None:
        data = sent.to_bytes()
        header = parse_ipv4(data)
        out.append(parse_tcp(data, header.payload_start, header.payload_end))
    while (endpoint := stack.poll_endpoint()) is not None:
        endpoint.poll_events()
    return out


def established(count: int) -> tuple[Stack, Connection, Segment]:
    """A stack with `count` idle connections to one port of one peer; one of them, and its SYN."""
    stack = Stack(StackConfig(), random.Random(1), b"sixteen bytes or more")
    stack.add_address(stack.add_interface("link", 1500), "10.0.0.1/24")
    syn = Segment(0, 0, 0, 0, 0, 0)
    connection: Connection | None = None
    for _ in range(count):
        connection = stack.connect(NOW, PEER, 80)
        [syn] = drain(stack)
        answer = Segment(80, syn.src_port, 7, (syn.seq + 1) & 0xFFFFFFFF, SYN | ACK, 60000)
        answer.mss = 1460
        stack.receive(NOW, packet(answer))
        [ack] = drain(stack)
        assert ack.flags == ACK
    assert connection is not None
    assert connection.state() == "ESTABLISHED"
    assert len(stack.connections) == count
    return stack, connection, syn


def calls(action: Callable[[], object]) -> int:
    """How many functions, Python's and C's, `action` calls."""
    count = 0

    def profile(frame: FrameType, event: str, arg: object) -> None:
        nonlocal count
        if event in ("call", "c_call"):
            count += 1

    gc.disable()  # hypothesis has a callback on collections, which would be counted
    sys.setprofile(profile)
    try:
        action()
    finally:
        sys.setprofile(None)
        gc.enable()
    return count


def cost(count: int) -> dict[str, int]:
    """Calls for each kind of work, with `count` connections that do nothing."""
    stack, connection, syn = established(count)
    data = Segment(80, syn.src_port, 8, (syn.seq + 1) & 0xFFFFFFFF, ACK | PSH, 60000, b"hello")

    def receive() -> None:
        stack.receive(NOW, packet(data))
        drain(stack)

    def send() -> None:
        connection.send(NOW, b"answer")
        drain(stack)

    def fire() -> None:
        stack.handle_timeout(stack.next_timeout())
        drain(stack)

    def ports() -> None:
        for _ in range(20):
            stack.connect(NOW, PEER, 80)

    assert stack.next_timeout() == NEVER, "an idle connection has a timer"
    # Once beforehand, so that what is looked up once and kept is there.
    receive()
    data.seq += 5
    found = {"receive": calls(receive), "send": calls(send), "timer": calls(fire)}
    found["port"] = calls(ports)
    return found


def test_ten_connections_cost_what_twenty_thousand_cost() -> None:
    few, many = cost(10), cost(20_000)
    assert {kind: many[kind] for kind in ("receive", "send", "timer")} == {
        kind: few[kind] for kind in ("receive", "send", "timer")
    }
    # 20,000 of 28,232 ports towards this peer are in use: a free one is found at the fourth try on average.
    assert many["port"] < 8 * few["port"]


def test_closed_connections_leave_nothing() -> None:
    stack, _, _ = established(50)
    for path in list(stack.connections.values()):
        path.connection.abort(NOW)
    drain(stack)
    assert stack.is_idle(), stack.leftovers()
