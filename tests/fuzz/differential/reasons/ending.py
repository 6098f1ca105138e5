"""Differences after a FIN, a RST or the program's close."""

from __future__ import annotations

from errno import ECONNRESET, EPIPE
from typing import Final

from tests.fuzz.differential.dialogue import CLOSE, PACKET, SHUTDOWN, WRITE
from tests.fuzz.differential.difference import Difference, Explanation
from tests.fuzz.differential.stamps import Stamps
from tests.fuzz.differential.windows import SendWindows

from plankroad.wire.segment import ACK, FIN, RST, SYN


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
    """A RST with the number behind the last octet that was held out of order: to Linux the connection has ended."""
    held: set[int | str] = set()
    taken = False
    for step, answers in zip([*d.before, d.step], [*d.said, []], strict=True):
        if step.kind == PACKET and step.flags & RST:
            numbers = [one for one in held if isinstance(one, int)]
            last = f"edge{step.seq:+d}" in held if step.from_edge else step.seq == max(numbers, default=-1)
            taken = taken or last
        held |= {right for answer in answers for _, right in answer.sack}
    return taken and all(answer.flags & RST for answer in d.linux)


def _reset_that_reaches_in(d: Difference) -> bool:
    """It begins before RCV.NXT and has text beyond."""
    end = d.step.seq + d.step.length + bool(d.step.flags & SYN) + bool(d.step.flags & FIN)
    reaches = bool(d.step.flags & RST) and not d.step.from_edge and d.step.seq < d.acked() < end
    return d.is_packet() and reaches and not d.ours and d.linux_acknowledges()


def _fin_ahead_after_close(d: Difference) -> bool:
    closed = any(step.kind == CLOSE for step in d.before)
    ahead = bool(d.step.flags & FIN) and not d.step.length and (d.step.from_edge or d.step.seq > d.acked())
    return d.is_packet() and closed and ahead and bool(d.linux) and all(a.flags & RST for a in d.linux)


def _held_at_close(d: Difference) -> bool:
    acked = d.acked()
    held = any(step.kind == PACKET and step.length and (step.from_edge or step.seq > acked) for step in d.before)
    return d.step.kind == CLOSE and held and bool(d.ours) and bool(d.ours[-1].flags & RST)


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


def _fin_behind_full_flight(d: Difference) -> bool:
    """Only our FIN leaves, behind an initial window (RFC 6928) of text that nobody has acknowledged."""
    if d.step.kind not in (SHUTDOWN, CLOSE) or d.linux or len(d.ours) != 1:
        return False
    fin = d.ours[0]
    mss = next((step.options[0] for step in d.before if step.options is not None), 0) or 536
    mss -= 12 if fin.ts_ecr is not None else 0
    windows = SendWindows(d)
    return fin.flags == ACK | FIN and not fin.length and windows.nxt - windows.acknowledged > 9 * mss


def _half_remembered(d: Difference) -> bool:
    """After the program's close and the acknowledgement of its FIN Linux checks little."""
    if not d.is_packet() or d.closed_at() < 0 or d.ended():
        return False
    if d.differ_in("ts_ecr"):
        stamps = Stamps(d)
        ours, linux = d.ours[0].ts_ecr, d.linux[0].ts_ecr
        return ours == stamps.ours and linux in stamps.linux - {ours}
    acknowledge = len(d.ours) == 1 and d.ours[0].flags == ACK and not d.ours[0].length and not d.linux_acknowledges()
    flags, seq, nxt = d.step.flags, d.step.seq, d.acked()
    if flags & RST:
        if nxt < seq < nxt + 65535 and not d.step.from_edge:
            # Inside of the window: a challenge ACK, says RFC 9293 section 3.10.7.4, second.
            return acknowledge and not d.linux
        # Outside: silence.
        return (seq < nxt or seq > nxt + 65535) and not d.ours and d.linux_acknowledges()
    if flags & SYN:
        # Section 3.10.7.4, fourth: a challenge ACK.
        return seq >= nxt and acknowledge and all(answer.flags & RST for answer in d.linux)
    # RFC 5961 section 5.2: SEG.ACK is out of range.
    wrong = d.step.ack is not None and not 1 <= d.step.ack <= d.sent()
    text = d.step.length or flags & FIN
    quiet = all(answer.flags & RST for answer in d.linux) if text else not d.linux
    return bool(flags & ACK) and wrong and seq >= nxt and acknowledge and quiet


def _bare_in_time_wait(d: Difference) -> bool:
    """A segment without text, behind RCV.NXT but inside of the window."""
    bare = not d.step.length and not d.step.flags & (SYN | RST | FIN)
    ahead = d.acked() < d.step.seq < d.acked() + 65535 or (d.step.from_edge and d.step.seq <= 0)
    return d.is_packet() and d.in_time_wait() and bare and ahead and not d.ours and d.linux_acknowledges()


def _reset_in_time_wait(d: Difference) -> bool:
    """A reset at RCV.NXT came in TIME-WAIT: Linux is CLOSED or LISTENs since, we wait on."""
    if not d.in_time_wait():
        return False
    exact = any(step.kind == PACKET and step.flags & RST and step.seq == d.acked() for step in d.before)
    fresh = any(answer.flags & (RST | SYN) for answer in d.linux)
    return d.is_packet() and exact and all(answer.flags == ACK for answer in d.ours) and (fresh or not d.linux)


def _syn_in_time_wait(d: Difference) -> bool:
    """A SYN with the number that follows our peer's FIN."""
    again = bool(d.ours) and d.ours[0].flags & (SYN | ACK) == SYN | ACK
    syn = d.step.flags & (SYN | ACK | RST | FIN) == SYN and d.step.seq == d.acked()
    return d.is_packet() and d.in_time_wait() and syn and again and d.linux_acknowledges()


ENDING: Final[tuple[Explanation, ...]] = (
    Explanation(
        "text after the peer's FIN",
        'RFC 9293 section 3.10.7.4, seventh: "This should not occur since a FIN has been received from the remote '
        'side. Ignore the segment text"; Linux resets where it begins before RCV.NXT.',
        _text_after_fin,
        parts=True,
    ),
    Explanation(
        "a reset just below RCV.NXT after a FIN",
        "RFC 5961 section 3.2: only the exact number resets. Linux also takes the number of the FIN, which some "
        "systems send.",
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
        "a reset before RCV.NXT with text beyond",
        'RFC 5961 section 3.2: "If the RST bit is set and the sequence number is outside the current receive window, '
        'silently drop the segment"; Linux challenges where the text reaches in.',
        _reset_that_reaches_in,
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
        "after close and the acknowledgement of the FIN",
        'RFC 9293 section 3.10.7.4 and RFC 5961: a wrong SEG.ACK "MUST be discarded and an ACK sent back", a SYN is '
        "challenged, a reset outside of the window dropped. Linux keeps so little of a closed socket in FIN-WAIT-2 "
        "that it does not check SEG.ACK nor keep TSval, resets for a SYN, acknowledges such a reset, and obeys one "
        "that is anywhere in the window.",
        _half_remembered,
        parts=True,
    ),
    Explanation(
        "a FIN behind a full flight",
        'RFC 5681 section 2: cwnd "limits the amount of data a TCP can send"; a FIN alone is none, and leaves where '
        "the peer's window has room for it. Linux counts segments, and keeps it back.",
        _fin_behind_full_flight,
        parts=True,
    ),
    Explanation(
        "a bare segment in TIME-WAIT",
        "RFC 9293 section 3.10.7.4: it is acceptable and brings nothing. Linux acknowledges all that does not stand "
        "right at RCV.NXT.",
        _bare_in_time_wait,
    ),
    Explanation(
        "a reset in TIME-WAIT",
        "docs/deviations.md: ignored, by RFC 1337 section 3, fix F1. Linux' net.ipv4.tcp_rfc1337 is off by default.",
        _reset_in_time_wait,
        parts=True,
    ),
    Explanation(
        "a SYN in TIME-WAIT right behind the FIN",
        "RFC 6191 section 2 wants a sequence number larger than the last one of the old connection, which is its "
        "FIN's; Linux one larger than RCV.NXT.",
        _syn_in_time_wait,
        parts=True,
    ),
)
