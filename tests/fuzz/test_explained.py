"""The explanations of tests/fuzz/differential: each fits what it is about, and not what lies beside it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.fuzz.differential.dialogue import CLOSE, PACKET, SHUTDOWN, WRITE, Step
from tests.fuzz.differential.difference import Difference
from tests.fuzz.differential.explained import explain
from tests.fuzz.differential.hosts import Seen
from tests.fuzz.differential.peer import ISS, MASK32, Answer, Peer
from tests.fuzz.differential.windows import SendWindows

from plankroad.wire.constants import PROTO_TCP
from plankroad.wire.ipv4 import build_ipv4
from plankroad.wire.segment import ACK, FIN, PSH, RST, SYN, Segment
from plankroad.wire.tcp import build_tcp

pytestmark = pytest.mark.either

WHOSE = "which segment's window counts"

HOST, PEER = b"\x0a\x42\0\x01", b"\x0a\x42\x01\x02"


def packet(flags: int, seq: int, length: int = 0, ack: int | None = None, **fields: object) -> Step:
    """A step; `wnd`, `ts`, `sack`, `from_edge` by name."""
    step = Step(PACKET, length)
    step.flags, step.seq, step.ack = flags, seq, ack
    for name, value in fields.items():
        setattr(step, name, value)
    return step


def said(flags: int, seq: int, length: int = 0, ack: int | None = None, **fields: object) -> Answer:
    """An answer; `ts_ecr`, `sack`, `options` by name."""
    answer = Answer(flags, seq, length, ack)
    for name, value in fields.items():
        setattr(answer, name, value)
    return answer


class Story:
    """A dialogue up to a difference. `handshake`: with these options agreed to."""

    def __init__(self, options: str = "mss wscale sackOK ts", wscale: int = 0) -> None:
        self.steps: list[Step] = []
        self.said: list[list[Answer]] = []
        self.ts = "ts" in options
        stamp = {"ts": 0} if self.ts else {}
        self.then(
            packet(SYN, 0, options=(1460, wscale, True), **stamp),
            said(SYN | ACK, 0, ack=1, options=options, ts_ecr=0),
        )
        self.then(packet(ACK, 1, ack=1, **stamp))

    def then(self, step: Step, *answers: Answer) -> Story:
        """Another step to which both answered so."""
        self.steps.append(step)
        self.said.append(list(answers))
        return self

    def differs(self, step: Step, ours: list[Answer], linux: list[Answer]) -> Difference:
        """A step to which they do not."""
        return Difference(
            len(self.steps), [*self.steps, step], ours, linux, Seen(), Seen(), [*self.said, list(linux)]
        )


def reason(difference: Difference) -> str:
    """The names of the explanations that are given, or nothing."""
    return ", ".join(one.name for one in explain(difference))


# The window of an old segment


def ahead(wnd: int) -> Story:
    """An acknowledgement near the window's right edge, text in order behind, and text with window `wnd`."""
    story = Story("mss")
    story.then(packet(ACK, -20, ack=1, from_edge=True))
    story.then(packet(ACK | PSH, 1, 10, ack=1), said(ACK, 1, ack=11))
    return story.then(packet(ACK | PSH, 11, 1, ack=1, wnd=wnd), said(ACK, 1, ack=12))


def test_a_window_that_we_must_not_hear_is_a_reason_to_send() -> None:
    fin = [said(FIN | ACK, 1, ack=12)]
    assert reason(ahead(0).differs(Step(SHUTDOWN), fin, [])) == WHOSE


def test_it_is_no_reason_not_to_send() -> None:
    fin = [said(FIN | ACK, 1, ack=12)]
    assert reason(ahead(0).differs(Step(SHUTDOWN), [], fin)) == ""


def test_an_open_window_is_no_reason_for_silence() -> None:
    fin = [said(FIN | ACK, 1, ack=12)]
    for ours, linux in ((fin, []), ([], fin)):
        assert reason(ahead(30_000).differs(Step(SHUTDOWN), ours, linux)) == ""


def test_the_window_of_what_ends_at_rcv_nxt_is_heard_by_linux_alone() -> None:
    story = Story("mss")
    story.then(packet(ACK | PSH, 1, 10, ack=1, wnd=0), said(ACK, 1, ack=11))
    story.then(packet(FIN | ACK, 10, ack=1), said(ACK, 1, ack=11))
    fin = [said(FIN | ACK, 1, ack=11)]
    assert reason(story.differs(Step(SHUTDOWN), [], fin)) == WHOSE
    assert reason(story.differs(Step(SHUTDOWN), fin, [])) == ""


def test_the_window_of_a_segment_without_its_timestamp_is_heard_by_linux_alone() -> None:
    fin = [said(FIN | ACK, 1, ack=11, ts_ecr=0)]
    for ts, name in ((None, WHOSE), (0, "")):
        story = Story("mss ts").then(packet(ACK | PSH, 1, 10, ack=1, wnd=0, ts=0), said(ACK, 1, ack=11, ts_ecr=0))
        story.then(packet(ACK, 11, ack=1, ts=ts))
        assert reason(story.differs(Step(SHUTDOWN), [], fin)) == name


def test_the_windows_are_those_that_each_host_goes_by() -> None:
    story = Story("mss wscale", wscale=2)
    story.then(Step(WRITE, 100), said(ACK, 1, 100, ack=1))

    def edges(step: Step) -> tuple[int, int]:
        windows = SendWindows(story.differs(step, [], []))
        return windows.ours, windows.linux

    assert edges(packet(ACK, 1, ack=1, wnd=1000)) == (4001, 120_001)  # smaller, of the same number
    assert edges(packet(ACK, 1, ack=101, wnd=1000)) == (4101, 4101)
    assert edges(packet(ACK, 1, ack=102, wnd=1000)) == (120_001, 120_001)  # never sent
    assert edges(packet(ACK | SYN, 1, ack=101, wnd=1000)) == (120_001, 120_001)
    assert edges(packet(ACK, 500_001, ack=101, wnd=1000)) == (120_001, 120_001)
    story.then(packet(ACK, 1000, ack=1, wnd=2000))
    assert edges(packet(ACK, 1, ack=101, wnd=1000)) == (8101, 4101)  # acknowledges something new
    assert edges(packet(ACK, 1, ack=1, wnd=1000)) == (8001, 8001)


# When things are sent


def test_an_acknowledgement_may_go_before_the_fin() -> None:
    story = Story("mss").then(packet(ACK | PSH, 1, 10, ack=1, wnd=0), said(ACK, 1, ack=11)).then(Step(SHUTDOWN))
    fin = said(FIN | ACK, 1, ack=12)
    step = packet(FIN | ACK, 11, ack=1)
    assert reason(story.differs(step, [fin], [said(ACK, 1, ack=12), fin])) == "an acknowledgement before text or FIN"
    # It says something else, or ours does not come.
    assert reason(story.differs(step, [fin], [said(ACK, 1, ack=11), fin])) == ""
    assert reason(story.differs(step, [], [said(ACK, 1, ack=12)])) == ""
    assert reason(story.differs(step, [said(ACK, 1, ack=12), fin], [fin])) == ""


def test_a_fin_leaves_behind_a_full_flight_only() -> None:
    for length, name in ((14_600, "a FIN behind a full flight"), (13_140, "")):
        story = Story("mss").then(Step(WRITE, length), said(ACK, 1, length, ack=1))
        difference = story.differs(Step(SHUTDOWN), [said(FIN | ACK, 1 + length, ack=1)], [])
        assert reason(difference) == name


def test_a_fin_that_one_holds_back_is_not_explained_by_what_was_written_before() -> None:
    story = Story("mss").then(Step(WRITE, 10), said(ACK, 1, 10, ack=1)).then(packet(ACK, 1, ack=11))
    fin = [said(FIN | ACK, 11, ack=1)]
    assert reason(story.differs(Step(SHUTDOWN), [], fin)) == ""
    assert reason(story.differs(Step(SHUTDOWN), fin, [])) == ""


def test_a_sequence_number_within_the_window_that_is_left() -> None:
    story = Story("mss").then(Step(WRITE, 3000), said(ACK, 1, 3000, ack=1))
    step = packet(ACK | PSH, 1, 10, ack=101, wnd=1000)
    ours = [said(ACK, 3001, ack=11)]
    name = "the sequence number of an acknowledgement behind a window that was taken back"
    assert reason(story.differs(step, ours, [said(ACK, 1101, ack=11)])) == name
    assert reason(story.differs(step, ours, [said(ACK, 1102, ack=11)])) == ""
    assert reason(story.differs(step, [said(ACK, 3000, ack=11)], [said(ACK, 1101, ack=11)])) == ""


# Timestamps and SACK blocks


def test_the_timestamp_of_a_segment_with_an_old_ack() -> None:
    story = Story().then(Step(WRITE, 1), said(ACK, 1, 1, ack=1, ts_ecr=0)).then(packet(ACK, 1, ack=2, ts=5))
    name = "the timestamp of a segment with an old ACK"

    def given(ack: int, ours: int, linux: int, seq: int = 1) -> str:
        step = packet(ACK, seq, 1, ack=ack, ts=9)
        return reason(story.differs(step, [said(ACK, 2, ack=2, ts_ecr=ours)], [said(ACK, 2, ack=2, ts_ecr=linux)]))

    assert given(1, 9, 5) == name
    assert given(1, 9, 0) == ""  # it took the one after that
    assert given(2, 9, 5) == ""  # its ACK is not old
    assert given(1, 5, 9) == ""  # Linux's is the newer one
    assert given(1, 9, 7) == ""  # nobody said 7
    assert given(1, 9, 5, seq=3) == ""  # not in order


def test_the_timestamp_of_an_old_ack_shows_when_something_is_said() -> None:
    story = Story().then(Step(WRITE, 1), said(ACK, 1, 1, ack=1, ts_ecr=0)).then(packet(ACK, 1, ack=2, ts=5))
    story.then(packet(ACK, 1, ack=1, ts=7)).then(packet(ACK, 1, ack=1, ts=8))
    name = "the timestamp of a segment with an old ACK"

    def given(ours: int, linux: int) -> str:
        fin = ([said(FIN | ACK, 2, ack=1, ts_ecr=stamp)] for stamp in (ours, linux))
        return reason(story.differs(Step(SHUTDOWN), *fin))

    assert given(8, 5) == given(8, 7) == name
    assert given(7, 5) == given(5, 8) == given(8, 0) == ""


def test_fields_that_differ_are_explained_one_by_one() -> None:
    story = Story().then(Step(WRITE, 1), said(ACK, 1, 1, ack=1, ts_ecr=0)).then(packet(ACK, 1, ack=2, ts=5))
    story.then(packet(FIN | ACK, 21, 10, ack=2, ts=5), said(ACK, 2, ack=1, ts_ecr=5, sack=((21, 31),)))
    step = packet(ACK, 1, 1, ack=1, ts=9)

    def given(sack: tuple[int, int], stamp: int) -> str:
        ours = said(ACK, 2, ack=2, ts_ecr=9, sack=((21, 31),))
        return reason(story.differs(step, [ours], [said(ACK, 2, ack=2, ts_ecr=stamp, sack=(sack,))]))

    assert given((21, 32), 5) == "the timestamp of a segment with an old ACK, a FIN in SACK blocks"
    assert given((21, 33), 5) == ""
    assert given((21, 32), 7) == ""


def test_the_timestamp_of_a_duplicate_wants_a_timestamp() -> None:
    story = Story("mss sackOK").then(packet(ACK, 1, 10, ack=1), said(ACK, 1, ack=11))
    held = said(ACK, 1, ack=11, sack=((20, 30),))
    assert reason(story.differs(packet(ACK, 1, 10, ack=1), [said(ACK, 1, ack=11)], [held])) == ""


def test_a_block_may_be_missing_only_where_a_report_takes_its_room() -> None:
    story = Story("mss sackOK").then(packet(ACK, 1, 10, ack=1), said(ACK, 1, ack=11))
    step = packet(ACK, 1, 10, ack=1)
    blocks = ((21, 31), (41, 51), (61, 71), (81, 91))
    full = [said(ACK, 1, ack=11, sack=blocks)]
    report = [said(ACK, 1, ack=11, sack=((1, 11), *blocks[:3]))]
    assert reason(story.differs(step, report, full)) == "which duplicates are reported"
    assert reason(story.differs(step, [said(ACK, 1, ack=11, sack=blocks[:3])], full)) == ""


# The edge, resets, and a closed socket


def test_text_beyond_what_was_told_only_where_there_is_no_scale() -> None:
    step = packet(ACK, 1000, 1, ack=1, from_edge=True)
    ours = [said(ACK, 1, ack=1)]
    took = [said(ACK, 1, ack=1, sack=(("edge+1000", "edge+1001"),))]
    name = "text beyond what an unscaled window can tell"
    assert reason(Story("mss sackOK").differs(step, ours, took)) == name
    assert reason(Story("mss sackOK wscale").differs(step, ours, took)) == ""
    assert reason(Story("mss sackOK").differs(step, took, ours)) == ""
    inside = packet(ACK, -20, 1, ack=1, from_edge=True)
    took = [said(ACK, 1, ack=1, sack=(("edge-20", "edge-19"),))]
    assert reason(Story("mss sackOK").differs(inside, ours, took)) == ""


def test_a_reset_that_reaches_in_is_challenged_by_linux_alone() -> None:
    story = Story("mss").then(packet(ACK, 1, 10, ack=1), said(ACK, 1, ack=11))
    challenge = [said(ACK, 1, ack=11)]
    name = "a reset before RCV.NXT with text beyond"
    assert reason(story.differs(packet(RST, 10, 5), [], challenge)) == name
    assert reason(story.differs(packet(RST, 10, 5), challenge, [])) == ""
    for step in (packet(RST, 12, 5), packet(RST, 5, 5), packet(ACK, 10, 5, ack=1)):
        assert reason(story.differs(step, [], challenge)) in ("", "a segment that ends at RCV.NXT")


def closed(acknowledged: bool = True, fin: bool = False) -> Story:
    """The program closed; the peer acknowledged that, and sent its own FIN."""
    story = Story("mss").then(Step(CLOSE), said(FIN | ACK, 1, ack=1))
    story.then(packet(ACK, 1, ack=2 if acknowledged else 1))
    return story.then(packet(FIN | ACK, 1, ack=2), said(ACK, 2, ack=2)) if fin else story


def half_remembered() -> Iterator[tuple[Step, list[Answer], list[Answer]]]:
    """What Linux does with a closed socket in FIN-WAIT-2, and we."""
    bare, reset = [said(ACK, 2, ack=1)], [said(RST, 5)]
    for ack in (-99_998, 3):
        yield packet(ACK, 1, ack=ack), bare, []
        yield packet(ACK, 1, 10, ack=ack), bare, reset
    yield packet(SYN, 1), bare, reset
    yield packet(RST, 2_000_001), [], bare
    yield packet(RST, 5), bare, []


@pytest.mark.parametrize(("step", "ours", "linux"), list(half_remembered()))
def test_a_closed_socket_in_fin_wait_2(step: Step, ours: list[Answer], linux: list[Answer]) -> None:
    name = "after close and the acknowledgement of the FIN"
    assert reason(closed().differs(step, ours, linux)) == name
    assert reason(closed().differs(step, linux, ours)) == ""
    assert reason(closed(acknowledged=False).differs(step, ours, linux)) != name
    assert reason(closed(fin=True).differs(step, ours, linux)) != name


def test_a_right_acknowledgement_of_a_closed_socket_is_explained_by_nothing() -> None:
    assert reason(closed().differs(packet(ACK, 1, ack=2), [said(ACK, 2, ack=1)], [])) == ""


def test_a_reset_behind_what_is_held_shows_later_too() -> None:
    story = Story("mss sackOK")
    story.then(packet(ACK, -1, 1, ack=1, from_edge=True), said(ACK, 1, ack=1, sack=(("edge-1", "edge+0"),)))
    ours, linux = [said(ACK, 1, ack=1, sack=(("edge-1", "edge+0"),))], [said(RST, 5)]
    step = packet(ACK, 1, ack=5)
    assert reason(story.differs(step, ours, linux)) == ""
    story.then(packet(RST, 0, from_edge=True))
    assert reason(story.differs(step, ours, linux)) == "a reset behind what is held"
    assert reason(story.differs(step, linux, ours)) == ""


def test_what_linux_does_in_time_wait() -> None:
    story = closed(fin=True)
    ack = [said(ACK, 2, ack=2)]
    for step in (packet(ACK, 3, ack=2), packet(PSH, 100)):
        assert reason(story.differs(step, [], ack)) == "a bare segment in TIME-WAIT"
        assert reason(story.differs(step, ack, [])) != "a bare segment in TIME-WAIT"
        assert reason(closed().differs(step, [], ack)) == ""
    assert reason(story.differs(packet(ACK, 2, ack=2), [], ack)) == ""
    again = [said(SYN | ACK, 0, ack=3, options="mss")]
    assert reason(story.differs(packet(SYN, 2), again, ack)) == "a SYN in TIME-WAIT right behind the FIN"
    assert reason(story.differs(packet(SYN, 3), again, ack)) == ""
    assert reason(story.differs(packet(SYN, 2), ack, again)) == ""
    late = packet(ACK, 1, ack=2)
    assert reason(story.differs(late, ack, [said(RST, 2)])) == ""
    story.then(packet(RST, 2))
    assert reason(story.differs(late, ack, [said(RST, 2)])) == "a reset in TIME-WAIT"
    assert reason(story.differs(late, [said(RST, 2)], ack)) == ""


def test_the_windows_of_what_crosses_the_edge_are_heard_while_nothing_waits() -> None:
    story = Story("mss").then(packet(ACK, 1, 10, ack=1, wnd=0), said(ACK, 1, ack=11))
    story.then(packet(ACK, -1, 10, ack=1, from_edge=True), said(ACK, 1, ack=11))
    fin = [said(FIN | ACK, 1, ack=11)]
    assert reason(story.differs(Step(SHUTDOWN), fin, [])) == WHOSE
    assert reason(story.differs(Step(SHUTDOWN), [], fin)) == ""


# The peer


def test_numbers_near_the_edge_are_told_by_the_words_that_were_used() -> None:
    """Two hosts that move their edges differently are comparable, as long as both are asked in the same words."""
    for moved in (0, 10):
        peer = Peer(HOST, 8080, PEER, 5000)
        peer.edge = 65_000
        peer.packet(packet(ACK, 1000, ack=1, from_edge=True))
        peer.edge += moved
        peer.packet(packet(ACK, -20, 1, ack=1, from_edge=True))
        assert peer.place(peer.edge - 20) == "edge-20"
        assert peer.place(peer.edge - 19) == "edge-19"


def test_text_and_fin_that_come_again_are_no_answer_and_a_second_connection_has_an_edge_of_its_own() -> None:
    peer = Peer(HOST, 8080, PEER, 5000)

    def hear(flags: int, seq: int, ack: int, wnd: int = 1000) -> list[str]:
        head = build_tcp(Segment(8080, 5000, seq, ack, flags, wnd), HOST, PEER)
        return [str(answer) for answer in peer.answers([build_ipv4(HOST, PEER, PROTO_TCP, len(head)) + head])]

    first = (ISS + 1) & MASK32
    assert hear(SYN | ACK, 7000, first, 60_000)
    assert peer.edge == 60_001
    assert hear(FIN | ACK, 7001, first) == ["F. 1(0) ack 1"]
    assert hear(FIN | ACK, 7001, first) == []
    # But for what it acknowledges.
    first += 10
    assert hear(FIN | ACK, 7001, first) == [". 2(0) ack 11"]
    assert hear(SYN | ACK, 90_000, first, 500)
    assert peer.edge == 511
    assert hear(FIN | ACK, 90_001, first) == ["F. 1(0) ack 11"]
