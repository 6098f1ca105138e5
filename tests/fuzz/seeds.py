"""What a fuzzer begins with: a few good examples of each kind, made here."""

from __future__ import annotations

import io
import random

from tests.fuzz.world import World
from tests.stack.samples import SAMPLES

from plankroad.pcap import LINKTYPE_RAW, PcapngWriter, PcapWriter

_HTTP = (
    b'\0GET /file.txt HTTP/1.1\r\nHost: a\r\nRange: bytes=0-5,10-\r\nIf-None-Match: "x", W/"y"\r\n\r\n',
    b"\0GET /%2e%2e/x?y#z HTTP/1.1\r\nHost: a\r\nIf-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n",
    b'\0GET http://a/file.txt HTTP/1.0\r\nIf-Range: W/"a"\r\nRange: bytes=-5\r\n\r\n',
    b"\1HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"\1HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"\2[fd00::1]:8080/a b?c=%41",
    b"\2b\xc3\xbccher.example/\xc3\xa4",
    b"\3Sunday, 06-Nov-94 08:49:37 GMT",
    b"\3Sun Nov  6 08:49:37 1994",
)

_FRAMES = (
    b"\0\5\0\0\0\5hello\0\0\0\0",
    b"\1\1\5\0hello",
    b"\2\0\5hello\x80\x01" + bytes(128),
    b"\3\2one\ntwo\n",
    b"\4\0one\r\ntwo\r\nthree",
)


def capture_files() -> list[bytes]:
    """A short connection as pcap and as pcapng."""
    world = World()
    world.open()
    world.write(0, 0, 3000)
    world.carry(100)
    world.close(0, 0)
    world.finish()
    packets = [(when, packet.data) for when, line, packet in world.log if packet is not None and "sent" in line]
    classic, modern = io.BytesIO(), io.BytesIO()
    pcap, pcapng = PcapWriter(classic, LINKTYPE_RAW), PcapngWriter(modern)
    interface = pcapng.add_interface("e0", LINKTYPE_RAW)
    for when, data in packets:
        pcap.write(when, data)
        pcapng.write(when, interface, data, comment="a comment")
    return [classic.getvalue(), modern.getvalue()]


def seeds(target: str) -> list[bytes]:
    """Examples for a target of `tests.fuzz.targets`."""
    if target == "wire":
        return [(b"\1" if sample[0] >> 4 == 4 else b"\2") + sample for sample in SAMPLES]
    if target == "captures":
        return capture_files()
    if target == "http":
        return list(_HTTP)
    if target == "framing":
        return list(_FRAMES)
    rng = random.Random(target)
    return [rng.randbytes(size) for size in (1, 10, 20, 40, 60, 80, 100, 150, 200, 300) for _ in range(4)]
