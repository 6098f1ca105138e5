"""A link made of two functions."""

from __future__ import annotations

import pytest
from tests.link.packets import pattern, plain_data, tcp_parts, tcp_segment, tcp_super

from plankroad.link.callable import CallableLink
from plankroad.wire.packet import Packet
from plankroad.wire.segment import ACK, PSH

SEGMENT = tcp_segment(1, ACK | PSH, pattern(4000))


class Far:
    """The other side: takes packets while it has room."""

    def __init__(self, room: int = 1000, blocking: bool = False) -> None:
        self.room = room
        self.blocking = blocking
        self.got: list[bytes] = []

    def transmit(self, packet: bytes) -> bool:
        if len(self.got) >= self.room:
            if self.blocking:
                raise BlockingIOError
            return False
        self.got.append(packet)
        return True


class Bell:
    def __init__(self) -> None:
        self.rings = 0

    def __call__(self) -> None:
        self.rings += 1


def test_sent_packets_are_complete_and_cut() -> None:
    far = Far()
    link = CallableLink(far.transmit)
    assert link.send(tcp_super(4, SEGMENT, 1000))
    assert link.send(Packet(b"head", b"tail"))
    assert far.got == [*tcp_parts(4, SEGMENT, 1000), b"headtail"]
    assert (link.tx_csum, link.gso_max_size) == (True, 65535)
    assert (link.counters.tx_packets, link.counters.tx_cut, link.counters.tx_completed) == (5, 1, 4)


def test_nonsense_is_lost_and_counted() -> None:
    far = Far()
    link = CallableLink(far.transmit)
    assert link.send(Packet(b"abc", gso_type=1, gso_size=1))
    assert link.send(Packet(b"abc", csum_start=20, csum_offset=16))
    assert far.got == []
    assert link.counters.tx_errors == 2


def test_any_answer_but_false_means_taken() -> None:
    got: list[bytes] = []
    link = CallableLink(got.append)
    assert link.send(Packet(b"x"))
    assert got == [b"x"]


@pytest.mark.parametrize("blocking", [False, True])
def test_a_refused_packet_is_offered_again_and_goes_on_where_it_got_stuck(blocking: bool) -> None:
    far = Far(2, blocking)
    link = CallableLink(far.transmit)
    bell = Bell()
    link.set_notify(bell)
    packet = tcp_super(4, SEGMENT, 1000)
    assert not link.send(packet)
    assert not link.send(packet)
    far.room = 3
    assert not link.send(packet)
    far.room = 1000
    link.writable()
    assert bell.rings == 1
    assert link.send(packet)
    assert far.got == tcp_parts(4, SEGMENT, 1000)
    assert link.send(packet), "sent once more it is a packet like any other"
    assert far.got == tcp_parts(4, SEGMENT, 1000) * 2
    assert link.counters.tx_refused == 3


def test_another_packet_offered_instead_comes_after_the_rest() -> None:
    far = Far(2)
    link = CallableLink(far.transmit)
    assert not link.send(tcp_super(4, SEGMENT, 1000))
    assert not link.send(Packet(b"other"))
    far.room = 1000
    assert link.send(Packet(b"other"))
    assert far.got == [*tcp_parts(4, SEGMENT, 1000), b"other"]


def test_an_error_loses_the_packet_only() -> None:
    def transmit(packet: bytes) -> None:
        if packet == b"bad":
            raise OSError("the radio burns")
        got.append(packet)

    got: list[bytes] = []
    link = CallableLink(transmit)
    assert link.send(Packet(b"bad"))
    assert link.send(Packet(b"good"))
    assert got == [b"good"]
    assert link.counters.tx_errors == 1


def test_delivered_packets() -> None:
    link = CallableLink(Far().transmit, batch_packets=2)
    bell = Bell()
    link.set_notify(bell)
    assert link.deliver(b"one")
    assert link.deliver(bytearray(b"two"))
    assert link.deliver(memoryview(b"three"))
    assert bell.rings == 1
    assert [p.head for p in link.receive()] == [b"one", b"two"]
    assert bell.rings == 2, "one is left over"
    (last,) = link.receive()
    assert type(last.head) is bytes
    assert link.receive() == []


def test_too_many_delivered_packets_are_dropped() -> None:
    link = CallableLink(Far().transmit, queue_packets=1)
    assert [link.deliver(b"x"), link.deliver(b"y")] == [True, False]
    assert link.counters.rx_dropped == 1


def test_polled_packets() -> None:
    waiting: list[bytes] = [b"one", b"two"]

    def poll() -> bytes | None:
        return waiting.pop(0) if waiting else None

    link = CallableLink(Far().transmit, poll=poll, fileno=5)
    assert link.fileno() == 5
    assert [p.head for p in link.receive()] == [b"one", b"two"]
    assert link.receive() == []
    link.close()
    assert link.fileno() == -1


def test_a_poll_that_would_block_has_nothing() -> None:
    def poll() -> bytes:
        raise BlockingIOError

    assert CallableLink(Far().transmit, poll=poll).receive() == []


def test_runs_of_segments_are_joined_when_asked() -> None:
    for join in (False, True):
        link = CallableLink(Far().transmit, join=join)
        for start in range(0, 4000, 1000):
            link.deliver(plain_data(pattern(1000), start))
        assert len(link.receive()) == (1 if join else 4)


def test_after_close_nothing_passes() -> None:
    far = Far()
    link = CallableLink(far.transmit)
    link.deliver(b"x")
    link.close()
    link.close()
    assert link.receive() == []
    assert not link.deliver(b"x")
    assert link.send(Packet(b"x"))
    assert far.got == []


def test_parameters_are_checked() -> None:
    with pytest.raises(ValueError, match="poll"):
        CallableLink(Far().transmit, fileno=3)
    with pytest.raises(ValueError, match="at least 1"):
        CallableLink(Far().transmit, mtu=0)
