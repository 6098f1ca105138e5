"""Accurate ECN feedback: RFC 9768 section 3.2. `ecn` calls it where a connection is in that mode.

The data receiver counts marked packets and octets; each segment tells the first count modulo 8 in the ACE field, which
takes the place of three header flags, and an option tells the others modulo 2**24 where they changed. The data sender
follows the counts, and does not trust ACE where many packets were acknowledged at once: it may have wrapped.
"""

from __future__ import annotations

from typing import Final

from plankroad.tcp.ecnstate import ACCECN, Ecn
from plankroad.tcp.seq import HALF32, MASK32
from plankroad.tcp.tcb import Tcb
from plankroad.wire.constants import ECN_CE, ECN_ECT0, ECN_ECT1
from plankroad.wire.segment import ACE, ACE_SHIFT, AE, CWR, ECE, Segment
from plankroad.wire.tcp import MAX_OPTIONS, options_length

_MASK24: Final = 0xFFFFFF

#: RFC 9768 section 3.2.2.5.1: an ACK after so many CE marks, where data is unacknowledged and where it is not.
_MARKS_WITH_DATA: Final = 2
_MARKS_WITHOUT: Final = 3

#: Section 3.2.3.3: each counter "at least once for every 2^22 bytes incremented"; a segment that has no room for the
#: option is followed by an ACK with it when so many octets are not reported, or marked ones.
_UNREPORTED_OCTETS: Final = 1 << 20

#: ACE alone is read as having wrapped only where an ACK is usually for fewer packets than this (appendix A.2.1: "if the
#: moving average of newlyAckedPkt was well below 8").
_FEW_PACKETS: Final = 4

#: Section 3.2.2.3: "whether the feedback for every packet it sends for the first three or four rounds indicates
#: CE-marking"; and data for that many segments at least.
_WATCHED_ROUNDS: Final = 4
_WATCHED_SEGMENTS: Final = 20

#: Segments that came again although acknowledged, before options on ACKs are thought to be the reason.
_LOST_OPTIONS: Final = 3


# --- the handshake ---------------------------------------------------------------------------------------------------


def handshake_flags(ip_ecn: int) -> int:
    """The ACE bits that tell which IP-ECN field came: tables 2 and 3 of RFC 9768."""
    if ip_ecn == ECN_CE:
        return AE | CWR
    if ip_ecn == ECN_ECT0:
        return AE
    if ip_ecn == ECN_ECT1:
        return CWR | ECE
    return CWR


def handshake_value(flags: int) -> int:
    """The IP-ECN field that these ACE bits tell of. Combinations without a meaning yet: it came unchanged, not-ECT."""
    flags &= ACE
    if flags == AE | CWR:
        return ECN_CE
    if flags == AE:
        return ECN_ECT0
    if flags == CWR | ECE:
        return ECN_ECT1
    return 0


def syn_ack_option(seg: Segment) -> None:
    """RFC 9768 section 3.2.3.2.1: the option on a SYN,ACK, whole, or empty, or not at all, as there is room."""
    room = MAX_OPTIONS - options_length(seg)
    if room >= 12:
        seg.accecn = (1, 0, 1)
    elif room >= 4:
        seg.accecn = (-1, -1, -1)


def handshake_ack_received(e: Ecn, seg: Segment) -> int:
    """The first ACK of our SYN,ACK came: the IP-ECN field with which that arrived, -1 where ACE is zero (table 4)."""
    _first_option(e, seg)
    if seg.payload or seg.sack:
        # `accurate_feedback` reads it.
        return 0
    e.handshake_seg = seg
    e.first_feedback = False
    if seg.has_ts:
        e.feedback_ts = seg.ts_val
    if seg.flags & ACE == 0:
        return -1
    value = handshake_value(seg.flags)
    if value == ECN_CE:
        e.s_cep = 6
    return value


def path_mangles(t: Tcb, now: int, e: Ecn, what: str) -> None:
    """Something on the path changes ECN fields: send no ECT any more."""
    if e.may_mark:
        e.may_mark = False
        if what == "bleached":
            t.counters.ecn_bleached += 1
        else:
            t.counters.ecn_mangled += 1
        if t.log is not None:
            t.log.event(now, t.name(), "ecn", {"mangled": what})


# --- the receiver ----------------------------------------------------------------------------------------------------


def packets_of(seg: Segment) -> int:
    """Packets that a received segment stands for."""
    size = seg.gso_size
    length = len(seg.payload)
    return 1 if size <= 0 or length <= size else (length + size - 1) // size


def accurate_arrived(t: Tcb, e: Ecn, seg: Segment, mark: int) -> None:
    """Count an acceptable packet (RFC 9768 section 3.2), and see whether its mark must be acknowledged at once."""
    length = len(seg.payload)
    if mark != ECN_CE:
        e.last_ce = False
        if mark and length:
            if mark == ECN_ECT0:
                e.r_e0b += length
            else:
                e.r_e1b += length
            e.option_due = True
        return
    packets = packets_of(seg)
    e.r_cep += packets
    e.ce_unreported += packets
    # Section 3.2.2.5.1, change-triggered ACKs: "whenever a data packet marked CE arrives after the previous packet was
    # not CE". Increment-triggered: "if 'n' CE marks have arrived since the previous ACK". What arrives in one piece, or
    # in one batch, is answered by one ACK, as that section allows.
    if length:
        e.r_ceb += length
        e.option_due = True
        if (not e.last_ce or e.ce_unreported >= _MARKS_WITH_DATA) and t.ack_now == 0:
            t.ack_now = 1
    elif e.ce_unreported >= (_MARKS_WITH_DATA if t.ack_octets else _MARKS_WITHOUT) and t.ack_now == 0:
        t.ack_now = 1
        e.ack_of_ack = t.ack_octets == 0
    e.last_ce = True


def accurate_stamp(t: Tcb, e: Ecn, seg: Segment) -> None:
    """The ACE field, and the option where it is due, on a segment that has all its other options."""
    e.ce_unreported = 0
    e.ack_of_ack = False
    payload = len(seg.payload)
    if e.handshake_ack and not payload and not seg.sack:
        # Section 3.2.2.1: "A TCP Client (A) in AccECN mode MUST feed back which of the 4 possible values of the IP-ECN
        # field was on the SYN/ACK by writing it into the ACE field of a pure ACK with no SACK blocks".
        e.handshake_ack = False
        seg.flags |= handshake_flags(e.peer_ip_ecn)
    else:
        seg.flags |= (e.r_cep & 7) << ACE_SHIFT
    if not e.option_due and not (payload and e.first_data) and not e.always_options:
        return
    if not e.sends_options:
        e.option_due = False
        return
    option: tuple[int, int, int] | None = None
    if not payload:
        option = _option(t, e, seg, 0)
    else:
        behind = (e.snd_high - seg.seq) & MASK32
        if behind == 0 or behind >= HALF32:
            option = _option(t, e, seg, payload)
            if e.first_data:
                e.first_data = False
                if option is not None:
                    e.first_data_end = e.snd_high + payload
    if option is None:
        if payload and (e.r_ceb != e.sent_ceb or _unreported(e) > _UNREPORTED_OCTETS):
            t.ack_now = max(t.ack_now, 1)
        return
    seg.accecn = option
    e.option_due = False
    e.sent_e0b = e.r_e0b
    e.sent_ceb = e.r_ceb
    e.sent_e1b = e.r_e1b
    if not payload:
        e.option_acks += 1


def _option(t: Tcb, e: Ecn, seg: Segment, payload: int) -> tuple[int, int, int] | None:
    """The longest option that there is room for, and that leaves out no counter which has changed; None without one.

    Section 3.2.3.3: "provided that the counter(s) that have changed since the previous AccECN TCP option are not
    omitted"; and SACK has precedence: two blocks of it.
    """
    room = MAX_OPTIONS - options_length(seg)
    if payload:
        room = min(room, t.snd_mss - payload - (options_length(seg) - (12 if t.ts_ok else 0)))
    elif len(seg.sack) > 2 and room < 8 and (e.r_ceb != e.sent_ceb or _unreported(e) > _UNREPORTED_OCTETS):
        # One block makes place for marks: with timestamps there is room for two blocks and two counters.
        seg.sack = seg.sack[:-1]
        room = MAX_OPTIONS - options_length(seg)
    if room < 8:
        return None
    zero = e.r_e0b & _MASK24
    ce = e.r_ceb & _MASK24
    one = e.r_e1b & _MASK24
    # "Whenever possible, it SHOULD include a field for every byte counter that has changed at some time during the
    # connection". All three are sent where both ECT counters have, and where nothing has: that is a test of the path.
    has_zero = e.r_e0b > 1
    has_one = e.r_e1b > 1
    if has_zero == has_one and room >= 12:
        return zero, ce, one
    # A single counter takes 5 bytes and NOPs up to 8; with a second one it is 8 as well.
    if has_zero == has_one:
        if e.r_e1b == e.sent_e1b:
            return zero, ce, -1
        return (-1, ce, one) if e.r_e0b == e.sent_e0b else None
    return (zero, ce, -1) if has_zero else (-1, ce, one)


def _unreported(e: Ecn) -> int:
    """Octets with ECT that came since the last option."""
    return e.r_e0b + e.r_e1b - e.sent_e0b - e.sent_e1b


def duplicate_arrived(e: Ecn) -> None:
    """Text that we had acknowledged came again.

    Section 3.2.3.2.2: a host "MAY detect loss of ACKs carrying the AccECN Option by detecting whether the acknowledged
    data always reappears as a retransmission. In such cases, the host SHOULD disable the sending of the AccECN Option".
    """
    if e.mode != ACCECN or not e.sends_options or e.option_acks == 0:
        return
    e.option_dups += 1
    if e.option_dups >= _LOST_OPTIONS and 2 * e.option_dups >= e.option_acks:
        e.sends_options = False


# --- the sender ------------------------------------------------------------------------------------------------------


def _first_option(e: Ecn, seg: Segment) -> None:
    """RFC 9768 section 3.2.3.2.4: a counter that is zero in the first option was made zero on the way."""
    option = seg.accecn
    if option is not None and not e.options_seen:
        e.options_seen = True
        e.options_ignored = option[0] == 0 or option[2] == 0


def _superseded(t: Tcb, e: Ecn, seg: Segment, start: int, delivered: int, acked: int) -> bool:
    """Has newer feedback come before this (appendix A.1)? What acknowledges more cumulatively is never old."""
    end = start + len(seg.payload)
    news = delivered > 0 or end > e.feedback_end
    e.feedback_end = max(e.feedback_end, end)
    if t.ts_ok and seg.has_ts:
        step = (seg.ts_val - e.feedback_ts) & MASK32
        if step >= HALF32:
            news = False
        elif step:
            e.feedback_ts = seg.ts_val
            news = True
    return acked <= 0 and not news


def accurate_feedback(t: Tcb, now: int, e: Ecn, seg: Segment, start: int, delivered: int, acked: int) -> bool:
    """Follow the receiver's counters; returns whether marks are reported that must be answered."""
    if e.handshake_seg is not None:
        first = e.handshake_seg is seg
        e.handshake_seg = None
        if first:
            return False
    if _superseded(t, e, seg, start, delivered, acked):
        return False
    ace = seg.flags >> ACE_SHIFT & 7
    if e.first_feedback:
        e.first_feedback = False
        if ace == 0:
            # Section 3.2.2.4: the counter does not begin at zero: "for the remainder of the half-connection the Data
            # Sender ought to send non-ECN-capable packets and it is advised not to respond to any feedback".
            e.responds = False
            path_mangles(t, now, e, "zero")
    mss = t.snd_mss
    packets = (delivered + mss - 1) // mss
    marks = (ace - e.s_cep) & 7
    octets = -1
    _first_option(e, seg)
    option = seg.accecn
    if option is not None and not e.options_ignored:
        if option[0] >= 0:
            e.s_e0b += (option[0] - e.s_e0b) & _MASK24
        if option[2] >= 0:
            e.s_e1b += (option[2] - e.s_e1b) & _MASK24
        if option[1] >= 0:
            octets = (option[1] - e.s_ceb) & _MASK24
            e.s_ceb += octets
    if octets >= 0:
        # Section 3.2.3.2.5: ACE is reconciled with the option: so many packets at least had these octets.
        least = (octets + e.largest_sent - 1) // e.largest_sent
        counted = e.s_cep + marks - e.option_cep
        if counted == 0 and octets and e.sent_packets - e.settled_packets < 8:
            # "If either endpoint detects that the s.ceb counter has increased but the s.cep has not (and by testing ACK
            # coverage it is certain how much the ACE field has wrapped) (...) the Data Sender MUST disable sending
            # ECN-capable packets for the remainder of the half-connection".
            path_mangles(t, now, e, "ace")
        elif counted < least:
            marks += (least - counted + 7) & ~7
        e.option_cep = e.s_cep + marks
        # What was reckoned without the option is in it.
        credit = max(0, octets - e.estimated)
        e.estimated = max(0, e.estimated - octets)
    else:
        if packets > 7 and e.acked_packets < 16 * _FEW_PACKETS and (not e.options_seen or e.options_ignored):
            # Section 3.2.2.5.2, "taking the safest likely case": a run of ACKs was lost, and ACE has cycled.
            marks = max(marks, packets - ((packets - marks) & 7))
        # Appendix A.3.
        credit = min(marks * mss, delivered) if delivered else 0
        if e.options_seen and not e.options_ignored:
            e.estimated += credit
    if delivered:
        e.acked_packets += (16 * packets - e.acked_packets) >> 3
    e.s_cep += marks
    if t.snd_una == t.snd_nxt:
        e.settled_packets = e.sent_packets
    # Nobody can have marked more than what arrived.
    arrived = t.delivered + delivered
    credit = min(credit, max(0, arrived - e.ce_octets))
    e.ce_octets += credit
    if e.rounds < _WATCHED_ROUNDS and t.snd_una > e.round_end:
        _watch(t, now, e, arrived)
    if not e.responds:
        return False
    e.new_ce += credit
    return marks > 0 or credit > 0


def _watch(t: Tcb, now: int, e: Ecn, arrived: int) -> None:
    """A round trip is over; after a few, look whether every packet is marked, or none keeps its ECT.

    `arrived`: octets that were delivered so far.
    """
    e.round_end = t.snd_nxt
    e.rounds += 1
    if e.rounds < _WATCHED_ROUNDS:
        return
    if arrived < _WATCHED_SEGMENTS * t.snd_mss:
        e.rounds -= 1
        return
    if e.ce_octets + t.snd_mss >= arrived:
        # Section 3.2.2.3: "If continuous CE-marking is detected, for the remainder of the half-connection, the Data
        # Sender ought to send non-ECN-capable packets and it is advised not to respond to any feedback of CE markings."
        e.responds = False
        path_mangles(t, now, e, "continuous")
        return
    heard = e.options_seen and not e.options_ignored
    if heard and e.wanted and e.s_ceb == 0 and e.s_e0b <= 1 and e.s_e1b <= 1 and e.s_cep <= 6:
        # Section 3.2.2.3: "either ECT codepoint transitions to not-ECT" is invalid; appendix A.4 tells how it shows.
        # Options reached us in the handshake, and yet not an octet is reported that came with any mark.
        path_mangles(t, now, e, "bleached")
