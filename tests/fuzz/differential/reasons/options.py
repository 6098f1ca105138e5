"""Differences in timestamps and SACK blocks."""

from __future__ import annotations

from typing import Final

from tests.fuzz.differential.dialogue import PACKET
from tests.fuzz.differential.difference import Difference, Explanation
from tests.fuzz.differential.peer import Answer
from tests.fuzz.differential.stamps import Stamps

from plankroad.wire.segment import ACK, RST


def _disordered_ack(d: Difference) -> bool:
    """A bare ACK with an old timestamp, otherwise as expected."""
    old = d.step.ts is not None and any(step.ts is not None and step.ts > d.step.ts for step in d.before)
    return d.is_packet() and old and not d.step.length and not d.linux and len(d.ours) == 1 and d.ours[0].flags == ACK


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
        # Some of Linux's repeat what is acknowledged by now, or was reported twice before.
        blocks = list(dict.fromkeys(blocks))
        lists.append([b for b in blocks if not (isinstance(b[1], int) and isinstance(acked, int) and b[1] <= acked)])
    if lists[0] == lists[1]:
        return True
    # Fewer old blocks fit behind a report.
    shorter, longer = sorted(lists, key=len)
    full = 3 if pair[0].ts_ecr is not None else 4
    reports = all(len(answer.sack) == full for answer in pair)
    return reports and len(longer) - len(shorter) == 1 and set(shorter) <= set(longer)


def _within(block: tuple[int | str, int | str], others: list[tuple[int | str, int | str]]) -> bool:
    start, end = (_number(each) for each in block)
    return any(_number(left) <= start and end <= _number(right) for left, right in others)


def _number(place: int | str) -> int:
    """Those near the edge lie together, far behind all others."""
    return int(place.removeprefix("edge")) + (1 << 20) if isinstance(place, str) else place


def _no_sack_on_data(d: Difference) -> bool:
    pair = d.one_each()
    return pair is not None and d.differ_in("sack") and pair[0].length > 0 and not pair[0].sack


def _timestamp_of_duplicate(d: Difference) -> bool:
    pair = d.one_each()
    if pair is None or d.step.kind != PACKET or d.step.ts is None or d.step.from_edge or not d.differ_in("ts_ecr"):
        return False
    echoes = pair[0].ts_ecr == d.step.ts != pair[1].ts_ecr
    return echoes and d.step.seq < d.acked() and bool(d.step.flags & ACK)


def _timestamp_with_old_ack(d: Difference) -> bool:
    """The timestamp of a segment in order whose ACK was older than SND.UNA: we echo it, Linux one from before."""
    if not d.differ_in("ts_ecr") or d.closed_at() >= 0:
        return False
    stamps = Stamps(d)
    ours, linux = d.ours[0].ts_ecr, d.linux[0].ts_ecr
    return ours == stamps.ours and linux in stamps.linux - {ours}


OPTIONS: Final[tuple[Explanation, ...]] = (
    Explanation(
        "a timestamp is missing",
        'RFC 7323 section 3.2: "If a non-<RST> segment is received without a TSopt, a TCP SHOULD silently drop the '
        'segment"; Linux takes it.',
        _without_timestamp,
        parts=True,
    ),
    Explanation(
        "a bare ACK with an old timestamp",
        'RFC 7323 section 5.3, R1: "Send an acknowledgment in reply ... and drop the segment"; Linux is silent where '
        "the segment may only have been overtaken.",
        _disordered_ack,
    ),
    Explanation(
        "the timestamp of a duplicate",
        "docs/deviations.md, RFC 7323 section 4.3: TS.Recent is updated by duplicates from before the window too.",
        _timestamp_of_duplicate,
        parts=True,
    ),
    Explanation(
        "the timestamp of a segment with an old ACK",
        'RFC 7323 section 5.3, R3: "If an arriving segment satisfies SEG.TSval >= TS.Recent and SEG.SEQ <= '
        'Last.ACK.sent (see Section 4.3), then record its timestamp in TS.Recent"; where its ACK lies before SND.UNA '
        "Linux takes the text alone.",
        _timestamp_with_old_ack,
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
        "parts than we do, and none of one with an ACK that is refused.",
        _duplicate_reports,
    ),
    Explanation(
        "no SACK on full segments",
        "docs/deviations.md, RFC 2018 section 4: a full data segment carries no SACK blocks; an ACK with them "
        "follows.",
        _no_sack_on_data,
        parts=True,
    ),
)
