"""Delivery-rate samples: how fast data arrives, as seen from its acknowledgements.

draft-ietf-ccwg-bbr section 4.1 (formerly draft-cheng-iccrg-delivery-rate-estimation): each transmission remembers how
much had been delivered by then and when; its acknowledgement tells how much was delivered since, and in which time. A
sample during which the program had nothing to send is marked: it is a lower bound of what the path carries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from plankroad.units import SECOND

if TYPE_CHECKING:
    from plankroad.tcp.scoreboard import Sent
    from plankroad.tcp.tcb import Tcb


def on_sent(t: Tcb, sent: Sent, now: int, pipe: int) -> None:
    """`sent` leaves now; `pipe`: octets in flight before it."""
    if pipe == 0:
        # Section 4.1.2.2: the first of a flight begins a new sample: the idle time before it says nothing.
        t.first_sent_at = now
        t.delivered_at = now
    sent.first_sent_at = t.first_sent_at
    sent.delivered_at = t.delivered_at
    sent.delivered = t.delivered
    sent.app_limited = t.app_limited > 0
    sent.lost_before = t.lost_total
    sent.tx_in_flight = pipe + sent.end - sent.start


def mark_app_limited(t: Tcb, pipe: int) -> None:
    """Section 4.1.2.4: the program has less than a segment to send and cwnd would let more go."""
    t.app_limited = t.delivered + pipe or 1


def on_ack(t: Tcb, now: int, newly_delivered: int) -> None:
    """Section 4.1.2.3: fill the sample of this ACK."""
    sample = t.sample
    sample.rate_interval = -1
    sample.delivery_rate = 0
    sample.rate_delivered = 0
    sample.rate_lost = 0
    t.delivered += newly_delivered
    if newly_delivered:
        t.delivered_at = now
    # "Clear app-limited field if bubble is ACKed and gone".
    if t.app_limited and t.delivered > t.app_limited:
        t.app_limited = 0
    newest = t.scoreboard.newest
    if newest is None:
        return
    sample.prior_delivered = newest.delivered
    sample.app_limited = newest.app_limited
    sample.tx_in_flight = newest.tx_in_flight
    sample.rate_lost = t.lost_total - newest.lost_before
    t.first_sent_at = newest.sent_at
    # "Use the longer of the send_elapsed and ack_elapsed".
    interval = max(newest.sent_at - newest.first_sent_at, now - newest.delivered_at)
    # "Normally we expect interval >= MinRTT": less comes of a retransmission taken for another.
    if interval <= 0 or interval < t.rtt.min_rtt:
        return
    delivered = t.delivered - newest.delivered
    sample.rate_interval = interval
    sample.rate_delivered = delivered
    sample.delivery_rate = delivered * SECOND // interval
    if not sample.app_limited or sample.delivery_rate >= t.delivery_rate:
        t.delivery_rate = sample.delivery_rate
