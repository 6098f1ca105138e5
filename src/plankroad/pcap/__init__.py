"""Captures: write and read pcapng and classic pcap, rebuild the flows they hold.

    with PcapngWriter("out.pcapng") as capture:
        eth0 = capture.add_interface("eth0", LINKTYPE_ETHERNET)
        capture.write(now, eth0, frame, comment="dropped: queue full", direction=OUTBOUND)

    with CaptureReader("out.pcapng") as capture:
        for packet in capture:
            ...

`plankroad.link.capture` taps links; `flows.rebuild` puts streams together.
"""

from __future__ import annotations

from plankroad.pcap.pcap_writer import PcapWriter
from plankroad.pcap.pcapng_writer import PcapngWriter
from plankroad.pcap.reader import CaptureReader, read_capture
from plankroad.pcap.records import (
    INBOUND,
    LINKTYPE_ETHERNET,
    LINKTYPE_RAW,
    OUTBOUND,
    UNKNOWN,
    CapturedPacket,
    CaptureError,
    CaptureInterface,
)

__all__ = [
    "INBOUND",
    "LINKTYPE_ETHERNET",
    "LINKTYPE_RAW",
    "OUTBOUND",
    "UNKNOWN",
    "CaptureError",
    "CaptureInterface",
    "CaptureReader",
    "CapturedPacket",
    "PcapWriter",
    "PcapngWriter",
    "read_capture",
]
