"""Why plankroad and Linux may answer differently: each difference that is no defect, with the words that allow it.

An explanation is a predicate on one step and a reason. What none of them explains is a failure. `parts`: afterwards
the two hosts are in different states, so the rest of the dialogue is not compared.
"""

from __future__ import annotations

from collections.abc import Callable
from errno import ECONNRESET, EPIPE
from typing import Final

from tests.fuzz.differential.dialogue import CLOSE, PACKET, READ, SHUTDOWN, WRITE, Step
from tests.fuzz.differential.hosts import Seen
from tests.fuzz.differential.peer import Answer

from plankroad.wire.segment import ACK, FIN, RST, SYN, URG


class Difference:
    """One step at which the two differ. `said`: what Linux answered to the steps before it."""

    def __init__(
        self,
        index: int,
        steps: list[Step],
        ours: list[Answer],
        linux: list[Answer],
        our_program: Seen,
        linux_program: Seen,
        said: list[list[Answer]],
    ) -> None:
        self.index = index
        self.steps = steps
        self.step = steps[index]
        self.before = steps[:index]
        self.ours = ours
        self.linux = linux
        self.our_program = our_program
        self.linux_program = linux_program
        self.said = said[:index]

    def is_packet(self) -> bool:
        """Is it about the answer to a packet, and do the programs see the same?"""
        return self.step.kind == PACKET and self.our_program.key() == self.linux_program.key()

    def one_each(self) -> tuple[Answer, Answer] | None:
        """Our answer and Linux's, where both have exactly one."""
        return (self.ours[0], self.linux[0]) if len(self.ours) == len(self.linux) == 1 else None

    def differ_in(self, *names: str) -> bool:
        """Have both one answer each, which differ in these fields at most?"""
        pair = self.one_each()
        if pair is None:
            return False
        ours, linux = pair
        every = ("flags", "seq", "length", "ack", "zero", "sack", "ts_ecr", "options", "urgent")
        return all(getattr(ours, name) == getattr(linux, name) for name in every if name not in names)

    def acked(self) -> int:
        """The last number that Linux acknowledged before: our RCV.NXT, as it is the same up to here."""
        for answers in reversed(self.said):
            for answer in reversed(answers):
                if isinstance(answer.ack, int) and not answer.flags & RST:
                    return answer.ack
        return 0

    def is_open(self) -> bool:
        """Was the handshake of the last SYN,ACK over?"""
        wanted: int | str | None = None
        over = True
        for step, answers in zip(self.before, self.said, strict=True):
            if step.kind == PACKET and not over and step.flags & (SYN | ACK | RST) == ACK and not step.broken:
                over = step.seq == wanted and step.ack == 1
            for answer in answers:
                if answer.flags & SYN:
                    wanted, over = answer.ack, False
        return over

    def contradicts(self) -> bool:
        """Has the peer sent a FIN and text behind it?"""
        steps = [step for step in [*self.before, self.step] if step.kind == PACKET and not step.broken]
        ends = [
            step.seq + step.length + (1 << 20 if step.from_edge else 0)
            for step in steps
            if step.length or step.flags & FIN
        ]
        return any(end > fin for fin in self.fins() for end in ends)

    def ended(self) -> bool:
        """Did the peer send a FIN that was taken?"""
        acked = self.acked()
        return any(
            step.kind == PACKET
            and step.flags & FIN
            and not step.broken
            and not step.from_edge
            and step.seq + step.length + 1 == acked
            for step in self.before
        )

    def fins(self) -> set[int]:
        """The sequence numbers of all FINs that the peer has sent, this step's too."""
        return {
            step.seq + step.length
            for step in [*self.before, self.step]
            if step.kind == PACKET and step.flags & FIN and not step.broken and not step.flags & RST
        }


class Explanation:
    """See the module."""

    def __init__(self, name: str, reason: str, applies: Callable[[Difference], bool], parts: bool = False) -> None:
        self.name = name
        self.reason = reason
        self.applies = applies
        self.parts = parts


def _syn_in_syn_received(d: Difference) -> bool:
    return d.is_packet() and bool(d.step.flags & SYN) and not d.is_open() and all(a.flags & RST for a in d.linux)


def _bad_ack_before_window(d: Difference) -> bool:
    answers_reset = bool(d.linux) and all(a.flags & RST for a in d.linux)
    bare = len(d.ours) == 1 and not d.ours[0].flags & (SYN | RST | FIN) and not d.ours[0].length
    return d.is_packet() and not d.is_open() and bool(d.step.flags & ACK) and answers_reset and bare


def _echo_in_syn_received(d: Difference) -> bool:
    """The handshake's last ACK echoes the timestamp of a challenge ACK, not that of the SYN,ACK."""
    challenged = bool(d.said) and any(
        answer.flags == ACK and not answer.length for answers in d.said[-4:] for answer in answers
    )
    bare = len(d.linux) == 1 and d.linux[0].flags == ACK and d.linux[0].ts_ecr is not None
    return d.is_packet() and not d.is_open() and challenged and bare and d.step.ts is not None


def _disordered_ack(d: Difference) -> bool:
    """A bare ACK with an old timestamp, otherwise as expected."""
    old = d.step.ts is not None and any(step.ts is not None and step.ts > d.step.ts for step in d.before)
    return d.is_packet() and old and not d.step.length and not d.linux and len(d.ours) == 1 and d.ours[0].flags == ACK


def _urgent_mark(d: Difference) -> bool:
    """Linux's reads end at the urgent mark."""
    urgent = any(step.kind == PACKET and step.flags & URG for step in d.before)
    ours, linux = d.our_program.data, d.linux_program.data
    return d.step.kind == READ and urgent and len(linux) < len(ours) and ours.startswith(linux)


def _syn_data(d: Difference) -> bool:
    return any(step.kind == PACKET and step.flags & SYN and step.length for step in d.before)


def _syn_fin(d: Difference) -> bool:
    return d.is_packet() and d.step.flags & (SYN | FIN) == SYN | FIN and not d.linux and bool(d.ours)


def _without_ack(d: Difference) -> bool:
    return d.is_packet() and not d.step.flags & (ACK | RST | SYN) and not d.linux and len(d.ours) == 1


def _without_timestamp(d: Difference) -> bool:
    agreed = any("ts" in answer.options.split() for answers in d.said for answer in answers)
    return d.is_packet() and agreed and d.step.ts is None and not d.step.flags & RST and not d.ours


def _without_fins(d: Difference, answer: Answer) -> list[tuple[int | str, int | str]]:
    """The SACK blocks without the numbers of FINs."""
    fins = d.fins()
    edges = {f"edge{fin + 1:+d}": f"edge{fin:+d}" for fin in fins}
    found: list[tuple[int | str, int | str]] = []
    for left, right in answer.sack:
        end: int | str = right
        if isinstance(right, int) and right - 1 in fins:
            end = right - 1
        elif isinstance(right, str):
            end = edges.get(right, right)
        if left != end:
            found.append((left, end))
    return found


def _fin_in_sack(d: Difference) -> bool:
    """The same but for blocks that have the number of a FIN at their end, or consist of it."""
    pair = d.one_each()
    if pair is None or not d.differ_in("sack"):
        return False
    ours, linux = _without_fins(d, pair[0]), _without_fins(d, pair[1])
    return bool(d.fins()) and set(ours) == set(linux)


def _duplicate_reports(d: Difference) -> bool:
    """The same but for the first block, which reports a duplicate (RFC 2883): one of the two has none, or another."""
    pair = d.one_each()
    if pair is None or not d.differ_in("sack"):
        return False
    acked = pair[0].ack
    lists = []
    for answer in pair:
        blocks = _without_fins(d, answer)
        duplicate = bool(blocks) and (
            (isinstance(blocks[0][1], int) and isinstance(acked, int) and blocks[0][1] <= acked)
            or (len(blocks) > 1 and _within(blocks[0], blocks[1:]))
        )
        blocks = blocks[1:] if duplicate else blocks
        # Some of Linux's repeat what is acknowledged by now.
        lists.append([b for b in blocks if not (isinstance(b[1], int) and isinstance(acked, int) and b[1] <= acked)])
    # Fewer old blocks fit behind a report.
    shorter, longer = sorted(lists, key=len)
    return lists[0] == lists[1] or (len(longer) - len(shorter) == 1 and set(shorter) <= set(longer))


def _within(block: tuple[int | str, int | str], others: list[tuple[int | str, int | str]]) -> bool:
    start, end = block
    if isinstance(start, str) or isinstance(end, str):
        return False
    return any(isinstance(a, int) and isinstance(b, int) and a <= start and end <= b for a, b in others)


def _no_sack_on_data(d: Difference) -> bool:
    pair = d.one_each()
    return pair is not None and d.differ_in("sack") and pair[0].length > 0 and not pair[0].sack


def _timestamp_of_duplicate(d: Difference) -> bool:
    pair = d.one_each()
    if pair is None or not d.differ_in("ts_ecr", "sack") or d.step.kind != PACKET:
        return False
    return pair[0].ts_ecr == d.step.ts and d.step.seq < d.acked() and bool(d.step.flags & ACK)


def _text_after_fin(d: Difference) -> bool:
    beyond = d.step.from_edge or d.step.seq + d.step.length > d.acked() - 1
    return d.is_packet() and d.ended() and beyond and all(a.flags & RST for a in d.linux) and bool(d.linux)


def _reset_before_fin(d: Difference) -> bool:
    """Some RST of the peer stood just below the number that was awaited, after its FIN."""
    acked = d.acked()
    return d.ended() and any(
        step.kind == PACKET and step.flags & RST and step.seq == acked - 1 for step in [*d.before, d.step]
    )


def _reset_behind_held(d: Difference) -> bool:
    """The number behind the last octet that is held out of order."""
    held = [right for answers in d.said for answer in answers for _, right in answer.sack if isinstance(right, int)]
    return d.is_packet() and bool(d.step.flags & RST) and not d.linux and d.step.seq == max(held, default=-1)


def _fin_ahead_after_close(d: Difference) -> bool:
    closed = any(step.kind == CLOSE for step in d.before)
    ahead = bool(d.step.flags & FIN) and not d.step.length and (d.step.from_edge or d.step.seq > d.acked())
    return d.is_packet() and closed and ahead and bool(d.linux) and all(a.flags & RST for a in d.linux)


def _after_close(d: Difference) -> bool:
    closed = any(step.kind == CLOSE for step in d.before)
    resets = [*d.ours, *d.linux]
    return d.is_packet() and closed and bool(d.ours) and bool(d.linux) and all(a.flags & RST for a in resets)


def _held_at_close(d: Difference) -> bool:
    acked = d.acked()
    held = any(step.kind == PACKET and step.length and (step.from_edge or step.seq > acked) for step in d.before)
    return d.step.kind == CLOSE and held and bool(d.ours) and bool(d.ours[-1].flags & RST)


def _beyond_edge(d: Difference) -> bool:
    crosses = d.step.seq <= 0 and d.step.seq + d.step.length >= 0
    return d.is_packet() and d.step.from_edge and (crosses or abs(d.step.seq) <= 1)


def _before_window(d: Difference) -> bool:
    """The segment ends exactly at RCV.NXT: Linux still takes its ACK, window and flags."""
    length = d.step.length + bool(d.step.flags & SYN) + bool(d.step.flags & FIN)
    return d.is_packet() and d.is_open() and length > 0 and d.step.seq + length == d.acked()


def _amount_of_data(d: Difference) -> bool:
    """How much of what waits is sent at once."""
    waits = any(step.kind == WRITE for step in [*d.before, d.step])

    def others(answers: list[Answer]) -> list[tuple[object, ...]]:
        return [answer.key()[3:] for answer in answers if not answer.length and not answer.flags & FIN]

    data = any(answer.length or answer.flags & FIN for answer in [*d.ours, *d.linux])
    return (
        waits
        and data
        and d.our_program.key() == d.linux_program.key()
        and (others(d.ours) == others(d.linux) or not others(d.ours) or not others(d.linux))
    )


def _sequence_of_bare_ack(d: Difference) -> bool:
    """The peer took back window that we had used: Linux's bare acknowledgements stay within what is left."""
    pair = d.one_each()
    shrunk = any(step.kind == PACKET and step.wnd < 10_000 for step in [*d.before, d.step])
    return pair is not None and d.differ_in("seq") and not pair[0].length and shrunk


def _old_ack(d: Difference) -> bool:
    return d.is_packet() and d.step.ack is not None and d.step.ack < 1 and d.differ_in("ack", "ts_ecr", "sack")


def _fin_and_text(d: Difference) -> bool:
    return d.contradicts() and (d.is_packet() or d.our_program.key() != d.linux_program.key())


def _shutdown_at_the_end(d: Difference) -> bool:
    return d.step.kind == SHUTDOWN and not d.ours and not d.linux


def _written_after_reset(d: Difference) -> bool:
    """A write, after a FIN of the peer's and a RST behind it."""
    kinds = [step.flags for step in d.before if step.kind == PACKET]
    fins = [at for at, flags in enumerate(kinds) if flags & FIN]
    return (
        d.step.kind == WRITE
        and (d.our_program.error, d.linux_program.error) == (ECONNRESET, EPIPE)
        and bool(fins)
        and any(flags & RST for flags in kinds[fins[0] + 1 :])
    )


EXPLANATIONS: Final[tuple[Explanation, ...]] = (
    Explanation(
        "a SYN in SYN-RECEIVED",
        'RFC 9293 section 3.10.7.4, fourth: "If the connection was initiated with a passive OPEN, then return this '
        'connection to the LISTEN state and return"; Linux sends the reset of RFC 793. A SYN,ACK at the number of '
        "the first SYN lies before the window and is acknowledged here.",
        _syn_in_syn_received,
        parts=True,
    ),
    Explanation(
        "an old segment with a wrong ACK in SYN-RECEIVED",
        'RFC 9293 section 3.10.7.4 checks the sequence number first: "If an incoming segment is not acceptable, an '
        'acknowledgment should be sent in reply"; Linux resets for the ACK (section 3.5.2, group 2).',
        _bad_ack_before_window,
    ),
    Explanation(
        "text in a SYN",
        'RFC 9293 section 3.10.7.2, third: "any other control or text should be queued for processing later"; Linux '
        "drops it unless Fast Open allows it.",
        _syn_data,
        parts=True,
    ),
    Explanation(
        "SYN and FIN in one segment",
        "RFC 9293 section 3.10.7.2 looks at RST, ACK and SYN; a FIN with them is no reason to ignore a SYN. Linux "
        "does, as some firewalls do.",
        _syn_fin,
        parts=True,
    ),
    Explanation(
        "no ACK, RST or SYN",
        'RFC 9293 section 3.10.7.4, first, comes before fifth ("if the ACK bit is off, drop the segment"): one '
        "outside of "
        "the window is answered. Linux drops it first.",
        _without_ack,
    ),
    Explanation(
        "a timestamp is missing",
        'RFC 7323 section 3.2: "If a non-<RST> segment is received without a TSopt, a TCP SHOULD silently drop the '
        'segment"; Linux takes it.',
        _without_timestamp,
        parts=True,
    ),
    Explanation(
        "a FIN in SACK blocks",
        'RFC 2018 section 3: blocks are of "data"; Linux counts the number of a FIN in.',
        _fin_in_sack,
    ),
    Explanation(
        "which duplicates are reported",
        "RFC 2883 section 4: reports are for the sender's use. Of a segment that is partly new Linux reports other "
        "parts "
        "than we do, and none of one with an ACK that is refused.",
        _duplicate_reports,
    ),
    Explanation(
        "no SACK on full segments",
        "docs/deviations.md, RFC 2018 section 4: a full data segment carries no SACK blocks; an ACK with them "
        "follows.",
        _no_sack_on_data,
        parts=True,
    ),
    Explanation(
        "the timestamp of a duplicate",
        "docs/deviations.md, RFC 7323 section 4.3: TS.Recent is updated by duplicates from before the window too.",
        _timestamp_of_duplicate,
        parts=True,
    ),
    Explanation(
        "text after the peer's FIN",
        'RFC 9293 section 3.10.7.4, seventh: "This should not occur since a FIN has been received from the remote '
        "side. "
        'Ignore the segment text"; Linux resets where it begins before RCV.NXT.',
        _text_after_fin,
        parts=True,
    ),
    Explanation(
        "a reset just below RCV.NXT after a FIN",
        "RFC 5961 section 3.2: only the exact number resets. Linux also takes the number of the FIN, which some "
        "systems "
        "send.",
        _reset_before_fin,
        parts=True,
    ),
    Explanation(
        "a write after a FIN and a reset",
        'RFC 9293 section 3.10.7.4, second: "any outstanding RECEIVEs and SEND should receive "reset" responses"; in '
        "CLOSE-WAIT Linux says EPIPE.",
        _written_after_reset,
    ),
    Explanation(
        "a reset behind what is held",
        "RFC 5961 section 3.2: only RCV.NXT resets. Linux also takes the right edge of the highest SACK block.",
        _reset_behind_held,
        parts=True,
    ),
    Explanation(
        "the form of a reset after close",
        "RFC 9293 section 3.6.1 (SHLD-3) wants a reset; section 3.10.5 has it as <SEQ=SND.NXT>, Linux answers as a "
        "CLOSED "
        "connection would.",
        _after_close,
    ),
    Explanation(
        "a FIN behind a hole after close",
        'RFC 9293 section 3.6.1 (SHLD-3) is about "new data"; Linux resets for a FIN alone that is not the next in '
        "order.",
        _fin_ahead_after_close,
        parts=True,
    ),
    Explanation(
        "text that is held at close",
        'RFC 9293 section 3.6.1 (SHLD-3): "while received data is still pending"; we count what is held behind a '
        "hole.",
        _held_at_close,
        parts=True,
    ),
    Explanation(
        "text at or beyond the window's right edge",
        'RFC 9293 section 3.10.7.4: what begins at the edge is outside; what crosses it is trimmed ("trimming off any '
        'portions that lie outside the window"). Linux has one octet more at the edge, and discards all that crosses.',
        _beyond_edge,
        parts=True,
    ),
    Explanation(
        "a segment that ends at RCV.NXT",
        "RFC 9293 section 3.4: not acceptable, so only acknowledged. Linux goes on to its flags, ACK and window.",
        _before_window,
        parts=True,
    ),
    Explanation(
        "data with an acknowledgement from before the SYN",
        'RFC 5961 section 5.2: "MUST be discarded and an ACK sent back"; Linux\' quick path takes text and '
        "timestamp first.",
        _old_ack,
        parts=True,
    ),
    Explanation(
        "the sequence number of an acknowledgement behind a window that was taken back",
        "RFC 9293 section 3.10.7.4: <SEQ=SND.NXT>; Linux stays within the window that is left.",
        _sequence_of_bare_ack,
    ),
    Explanation(
        "the echo in a handshake",
        "RFC 7323 has no check of TSecr; Linux takes in SYN-RECEIVED only those that its SYN,ACKs "
        "had, not "
        "those of challenge ACKs in between.",
        _echo_in_syn_received,
        parts=True,
    ),
    Explanation(
        "a bare ACK with an old timestamp",
        'RFC 7323 section 5.3, R1: "Send an acknowledgment in reply ... and drop the segment"; Linux is silent '
        "where the "
        "segment may only have been overtaken.",
        _disordered_ack,
    ),
    Explanation(
        "a read at the urgent mark",
        "RFC 9293 section 3.8.5 leaves the interface open; reads of Linux's sockets end at the mark.",
        _urgent_mark,
        parts=True,
    ),
    Explanation(
        "a FIN and text behind it",
        'RFC 9293 section 3.10.7.4 says of text behind a FIN: "This should not occur". While the FIN is not '
        "reached, which of "
        "the two counts is each stack's own.",
        _fin_and_text,
        parts=True,
    ),
    Explanation(
        "how much is sent at once",
        "Congestion control, limited transmit (RFC 3042), and silly-window avoidance (RFC 9293 section 3.8.6.2.1) "
        "are each "
        "stack's own.",
        _amount_of_data,
        parts=True,
    ),
    Explanation(
        "shutdown of a connection that has ended",
        "What a socket's call says then is not TCP's.",
        _shutdown_at_the_end,
    ),
)
