"""A stack whose links are all full still speaks with itself."""

from __future__ import annotations

import random

from tests.aio.test_driver import FakeLink, FakeScheduler

from plankroad.aio.driver import Driver
from plankroad.stack.config import StackConfig
from plankroad.stack.stack import Stack
from plankroad.wire.address import ip_to_bytes

OWN = ip_to_bytes("10.0.0.1")
FAR = ip_to_bytes("10.0.0.9")


def build() -> tuple[Driver, Stack, FakeLink]:
    stack = Stack(StackConfig(), random.Random(1), bytes(16))
    driver = Driver(stack, FakeScheduler())
    link = FakeLink(fd=7)
    stack.add_address(driver.attach(link), "10.0.0.1/24")
    return driver, stack, link


def test_connections_within_the_host_go_on_and_those_without_wait_their_turn() -> None:
    driver, stack, link = build()
    link.room = 0
    far = [stack.bind_udp() for _ in range(5)]
    for number, endpoint in enumerate(far):
        endpoint.send_to(0, bytes([number]) * 9, FAR, 53)
    driver.push()
    listener = stack.listen(0, b"", 80)
    client = stack.connect(0, OWN, 80)
    outward = stack.connect(0, FAR, 80)
    driver.push()
    server = listener.accept()
    assert server is not None
    client.send(0, b"data")
    driver.push()
    assert server.receive(0, 10) == b"data"
    local = stack.bind_udp(b"", 53)
    stack.bind_udp().send_to(0, b"note", OWN, 53)
    driver.push()
    heard = local.receive_from()
    assert heard is not None
    assert heard.data == b"note"
    # One datagram is held by the driver; the others and the SYN are still where they were, in their order.
    assert link.sent == []
    assert [len(endpoint.snd_queue) for endpoint in far] == [0, 1, 1, 1, 1]
    assert stack.leftovers()["work"] == 5
    link.room = 100
    (attachment,) = driver._attachments.values()
    driver.resume(attachment)
    assert [packet[9] for packet in link.sent] == [17] * 5 + [6]
    assert all(not endpoint.snd_queue for endpoint in far)
    assert outward.state() == "SYN_SENT"
    assert stack.leftovers()["work"] == 0


def test_what_waits_for_a_link_is_looked_at_once() -> None:
    """However much waits, a command costs the same."""
    driver, stack, link = build()
    link.room = 0
    for _ in range(50):
        stack.bind_udp().send_to(0, b"", FAR, 53)
    driver.push()
    assert len(stack.remote) == 49
    assert stack.work == []
    stack.bind_udp().send_to(0, b"", OWN, 9)
    driver.push()
    assert len(stack.remote) == 49
