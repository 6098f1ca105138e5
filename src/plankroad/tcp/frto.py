"""F-RTO (RFC 5682): was the timeout a mistake, when timestamps cannot tell?

After a timeout the first segment is sent again. If the next ACK moves SND.UNA but not past all that was outstanding,
new data goes out instead of more retransmissions; if the ACK after that acknowledges data that was sent only once, the
original transmissions are arriving, and nothing was lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from plankroad.tcp import undo

if TYPE_CHECKING:
    from plankroad.tcp.tcb import Tcb

# Tcb.frto: the step of section 2.1 (3.1 with SACK) that the next ACK belongs to.
FRTO_OFF: Final = 0
FRTO_FIRST: Final = 2
FRTO_SECOND: Final = 3

#: Step 2b: "transmit up to two new (previously unsent) segments".
NEW_SEGMENTS: Final = 2


def begin(t: Tcb, again: bool) -> None:
    """The retransmission timer expired. `again`: in a recovery that was not over, which step 1 rules out, or
    where the program wants none of this."""
    t.frto = FRTO_OFF if again else FRTO_FIRST
    t.frto_new = 0


def on_ack(t: Tcb, now: int, acked: int, sacked: int, duplicate: bool) -> None:
    """An ACK in the recovery of a timeout, before anything else is made of it."""
    if t.frto == FRTO_FIRST:
        if acked and t.snd_una < t.recover:
            # Step 2b: "If the acknowledgment advances the window AND the Acknowledgment field does not cover recover".
            t.frto = FRTO_SECOND
            t.frto_new = NEW_SEGMENTS
            t.high_new = t.snd_nxt
        elif acked or (duplicate and not t.sack_ok):
            # Step 2a: all is acknowledged, or the ACK is a duplicate: revert to the conventional recovery.
            t.frto = FRTO_OFF
        return
    if t.frto != FRTO_SECOND:
        return
    board = t.scoreboard
    if 0 <= board.original_start < t.high_new:
        # Step 3b: "if the acknowledgment acknowledges data that was not retransmitted after the timeout", then "declare
        # the timeout spurious".
        t.counters.undone_frto += 1
        undo.undo(t, now, "f-rto")
    elif acked or duplicate or sacked:
        # Step 3a: the new data overtook what is missing: that is lost.
        t.frto = FRTO_OFF
