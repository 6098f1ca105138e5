"""A fixed number of random dialogues with our listener and the kernel's: no difference without an explanation.

`scripts/differential.py` holds thousands. A failure prints the seed and the dialogue, with both hosts' answers.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fuzz.differential.compare import Differential
from tests.fuzz.differential.dialogue import PACKET, WRITE, Step, dialogue
from tests.fuzz.differential.explained import EXPLANATIONS
from tests.fuzz.differential.hosts import LinuxHost
from tests.fuzz.differential.peer import ISS, Peer, near
from tests.interop.netns import Namespace, namespace
from tests.volume import volume

from plankroad.wire.ipv4 import parse_ipv4
from plankroad.wire.segment import ACK, RST, SYN
from plankroad.wire.tcp import parse_tcp, tcp_checksum_ok


@pytest.fixture
def ns() -> Iterator[Namespace]:
    """A namespace of its own, and one processor: what the kernel does with a packet is done when it is written."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(allowed)})
    try:
        with namespace() as made:
            yield made
    finally:
        os.sched_setaffinity(0, allowed)


@pytest.mark.root
def test_no_difference_without_an_explanation(ns: Namespace) -> None:
    both = Differential(LinuxHost(ns))
    for seed in range(1, volume(200, 60)):
        verdict = both.run(seed)
        assert verdict.unexplained is None, verdict.story()
    assert both.steps > 4 * both.dialogues
    # Most of what is compared is the same.
    assert both.explained.total() < both.steps // 4


@pytest.mark.root
def test_a_host_that_answers_otherwise_is_told(ns: Namespace) -> None:
    """The comparison is not lenient: with another answer of ours it finds a difference, and prints it."""
    both = Differential(LinuxHost(ns))
    verdict = both.run(3)
    assert verdict.unexplained is None
    changed = 0
    for turn in verdict.ours:
        for answer in turn.answers:
            if isinstance(answer.ack, int):
                answer.ack += 1
                changed += 1
    assert changed
    again = both.compare(3, verdict.steps)
    assert again.unexplained is None
    again.ours = verdict.ours
    again.judge()
    assert again.unexplained is not None
    assert "ours" in again.story()


def _segment(flags: int, seq: int, ack: int | None = None) -> Step:
    step = Step(PACKET)
    step.flags, step.seq, step.ack = flags, seq, ack
    step.options = (1460, -1, False) if flags & SYN else None
    return step


@pytest.mark.root
def test_a_second_connection_in_a_dialogue_has_a_stream_of_its_own(ns: Namespace) -> None:
    both = Differential(LinuxHost(ns))
    opening = [_segment(SYN, 0), _segment(ACK, 1, 1), Step(WRITE, 10)]
    verdict = both.compare(0, [*opening, _segment(RST, 1), *opening])
    assert verdict.unexplained is None, verdict.story()
    for turns in (verdict.ours, verdict.linux):
        assert [str(answer) for answer in turns[-1].answers] == [". 1(10) ack 1"]


@pytest.mark.root
def test_a_host_that_sends_what_was_not_written_is_named_with_the_dialogue(
    ns: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = Differential(LinuxHost(ns))
    monkeypatch.setattr("tests.fuzz.differential.peer.STREAM", bytes(1000))
    with pytest.raises(AssertionError, match=r"OurHost: the host sent other octets .*, at 1, after\nS 0\(0\)"):
        both.compare(0, [_segment(SYN, 0), _segment(ACK, 1, 1), Step(WRITE, 10)])


@pytest.mark.either
def test_a_dialogue_is_its_seeds() -> None:
    for seed in range(20):
        assert [str(step) for step in dialogue(seed)] == [str(step) for step in dialogue(seed)]
    assert len({str(dialogue(seed)[0]) for seed in range(50)}) > 10


@pytest.mark.either
def test_steps_become_packets() -> None:
    for seed in range(50):
        peer = Peer(b"\x0a\x42\0\x01", 8080, b"\x0a\x42\x01\x02", 5000)
        for step in dialogue(seed):
            if step.kind != "packet":
                continue
            packet = peer.packet(step)
            ip = parse_ipv4(packet)
            assert tcp_checksum_ok(packet, ip.payload_start, ip.payload_end, ip.src, ip.dst) is not step.broken
            seg = parse_tcp(packet, ip.payload_start, ip.payload_end)
            assert seg.flags == step.flags
            assert len(seg.payload) == step.length
            if not step.from_edge:
                assert near(seg.seq - ISS) == step.seq
            assert seg.has_ts is (step.ts is not None)


@pytest.mark.either
def test_every_explanation_has_its_reason() -> None:
    names = [explanation.name for explanation in EXPLANATIONS]
    assert len(set(names)) == len(names)
    assert all(len(explanation.reason) > 20 for explanation in EXPLANATIONS)
    page = (Path(__file__).resolve().parents[2] / "docs" / "fuzzing.md").read_text(encoding="utf-8")
    assert [name for name in names if f"\n| {name} | " not in page] == []
