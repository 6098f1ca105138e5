"""What is fuzzed: functions that take any bytes and return, or raise where there is a defect.

`scripts/fuzz.py` gives them bytes that reach new code; `test_targets.py` some random ones and the cases of old.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import tempfile
from collections.abc import Callable
from functools import cache
from typing import Any, Final

import h11
from tests.fuzz.edits import edit
from tests.fuzz.feed import Feed
from tests.fuzz.programs import run_connection, run_pair
from tests.stack.net import Lone, Net
from tests.stack.samples import SAMPLES, busy
from tests.wire.reading import read_frame

from plankroad.aio.framing import Delimiter, FrameDecoder, FramingError, LengthPrefix
from plankroad.cli.errors import Failure
from plankroad.cli.http import MAX_HEAD, joined
from plankroad.cli.http_client import Download, Url
from plankroad.cli.http_rules import parse_date
from plankroad.cli.http_site import reply_to
from plankroad.cli.http_tree import Tree
from plankroad.link.coalesce import coalesce
from plankroad.link.segmentation import segment
from plankroad.link.vnet import VNET_SIZE, decode
from plankroad.packetdrill.errors import ScriptError
from plankroad.packetdrill.parser import parse_script
from plankroad.pcap import CaptureError, CaptureReader
from plankroad.pcap.flows import rebuild
from plankroad.stack.config import StackConfig
from plankroad.units import MILLISECOND, SECOND
from plankroad.wire.checksum import complete
from plankroad.wire.errors import BadPacket
from plankroad.wire.packet import Packet

Target = Callable[[bytes], object]

#: Ethernet headers that lead to each parser.
_LEADS: Final = (b"", bytes(12) + b"\x08\x00", bytes(12) + b"\x86\xdd", bytes(12) + b"\x08\x06")

#: Packets that come in by one act of `fuzz_stack`.
_MAX_ANSWERS: Final = 64


def fuzz_wire(data: bytes) -> None:
    """A frame through every parser that it leads to: `BadPacket` or nothing."""
    with contextlib.suppress(BadPacket):
        read_frame(_LEADS[data[0] & 3] + data[1:] if data else data)


def fuzz_captures(data: bytes) -> None:
    """A capture file, its flows and their ladders: `CaptureError` or nothing."""
    for strict in (False, True):
        try:
            reader = CaptureReader(io.BytesIO(data), strict=strict)
            packets = list(reader)
        except CaptureError:
            continue
        assert len(packets) <= len(data) or data[:2] == b"\x1f\x8b"
        for verify in (True, False):
            flows = rebuild(packets, verify_checksums=verify)
            for flow in flows.tcp:
                flow.is_complete()
                for stream in flow.streams:
                    stream.gaps()
                    stream.data()
                ladder = flow.ladder()
                ladder.handshake()
                ladder.recovery()
                ladder.closing()
                for line in ladder.draw():
                    assert isinstance(line, str)


def fuzz_stack(data: bytes) -> None:
    """Packets and frames, damaged or made up, into a host that has something of everything."""
    feed = Feed(data)
    shape = feed.byte()
    config = StackConfig(
        forwarding=bool(shape & 1),
        source_route=bool(shape & 2),
        icmp_timestamp=bool(shape & 4),
        strong_host=bool(shape & 8),
    )
    if shape & 16:
        _frames(config, feed)
        return
    net = busy(config)
    idents = 0
    while not feed.ended():
        kind = feed.below(8)
        if kind == 0:
            packets = [feed.some(200)]
        elif kind == 1:
            net.pass_time(feed.pick((MILLISECOND, 100 * MILLISECOND, SECOND, 60 * SECOND)))
            continue
        else:
            idents += 1
            packets, _ = edit(feed.pick(SAMPLES), feed, idents)
        for packet in packets:
            assert len(net.give(packet, csum_valid=kind == 7)) <= _MAX_ANSWERS
        bounded(net)
    net.pass_time(10 * SECOND)
    bounded(net)


def _frames(config: StackConfig, feed: Feed) -> None:
    net = Net()
    stack = net.add(1, config)
    mac = b"\x02\0\0\0\0\x01"
    interface = stack.add_interface("e0", 1500, ethernet=True, mac=mac)
    stack.add_address(interface, "10.0.0.2/24")
    stack.autoconfigure(0, interface)
    arp = b"\x00\x01\x08\x00\x06\x04\x00\x01" + b"\x02\0\0\0\0\x09" + b"\x0a\0\0\x01" + bytes(6) + b"\x0a\0\0\x02"
    while not feed.ended():
        kind = feed.below(8)
        if kind == 0:
            net.now += feed.pick((MILLISECOND, SECOND, 60 * SECOND, 3600 * SECOND))
            stack.handle_timeout(net.now)
        else:
            body = arp if kind == 1 else feed.pick(SAMPLES)
            ethertype = b"\x08\x06" if kind == 1 else b"\x08\x00" if body[0] >> 4 == 4 else b"\x86\xdd"
            frame = bytearray(
                feed.pick((mac, b"\xff" * 6, b"\x33\x33\0\0\0\x01")) + b"\x02\0\0\0\0\x09" + ethertype + body
            )
            for _ in range(feed.below(4)):
                frame[feed.below(len(frame))] = feed.byte()
            if feed.byte() == 1:
                del frame[feed.below(len(frame)) :]
            stack.receive(net.now, Packet(bytes(frame), csum_valid=bool(kind & 1)))
        answers = 0
        while stack.poll_transmit(net.now) is not None:
            answers += 1
            assert answers <= _MAX_ANSWERS, "too many answers to one frame"


def bounded(net: Lone) -> None:
    """What a stranger can make a host keep."""
    stack = net.b
    assert stack.fragments.memory <= stack.config.reassembly_memory
    assert len(stack.sources) <= 4096
    assert len(stack.connections) <= stack.config.tcp.syn_backlog + 200
    assert len(stack.output) <= stack.config.output_queue


def fuzz_link(data: bytes) -> None:
    """What a device with offloads may hand in: virtio-net headers, super-segments cut and joined."""
    feed = Feed(data)
    batch: list[Packet] = []
    while not feed.ended() and len(batch) < 8:
        header = feed.some(VNET_SIZE).ljust(VNET_SIZE, b"\0")
        body, _ = edit(feed.pick(SAMPLES), feed, 1)
        ethernet = feed.flag()
        for packet in body:
            frame = (
                bytes(12) + (b"\x08\x00" if packet[:1] < b"\x50" else b"\x86\xdd") + packet if ethernet else packet
            )
            try:
                made = decode(header, frame)
                for part in segment(made, ethernet):
                    part.to_bytes()
                batch.append(made)
                complete(made)
            except BadPacket:
                continue
    for ethernet in (False, True):
        assert sum(len(packet) for packet in coalesce(list(batch), ethernet)) <= sum(len(packet) for packet in batch)


def fuzz_framing(data: bytes) -> None:
    """Frames from a stream, in pieces of any size: the same messages, or `FramingError`."""
    feed = Feed(data)
    choices = (LengthPrefix(limit=1000), LengthPrefix(2, "little", limit=1000), LengthPrefix(0, limit=1000))
    framing = feed.pick(
        (*choices, Delimiter(limit=1000), Delimiter(b"\r\n", limit=1000), Delimiter(b"\n", strip=b"\r"))
    )
    step = 1 + feed.below(40)
    rest = feed.data[feed.at :]
    outcomes = []
    for pieces in ([rest], [rest[i : i + step] for i in range(0, len(rest), step)]):
        decoder = FrameDecoder(framing)
        found: list[object] = []
        try:
            for piece in pieces:
                found.extend(decoder.feed(piece))
            decoder.finish()
        except FramingError as error:
            found.append(type(error))
        outcomes.append(found)
    assert outcomes[0] == outcomes[1], f"pieces of {step} octets make other messages than the whole"


@cache
def _tree() -> Tree:
    place = tempfile.mkdtemp(prefix="plankroad-fuzz-")
    with open(f"{place}/file.txt", "wb") as file:
        file.write(bytes(range(256)) * 4)
    return Tree(place)


def fuzz_http(data: bytes) -> None:
    """A request to the file server, an answer to the client, a URL and a date: their own errors or nothing."""
    kind, rest = (data[0] & 3, data[1:]) if data else (0, b"")
    if kind == 0:
        _request(rest)
    elif kind == 1:
        asyncio.run(_answer(rest))
    elif kind == 2:
        with contextlib.suppress(Failure):
            Url("http://" + rest.decode("utf-8", "replace")).authority()
    else:
        parse_date(rest.decode("latin-1"))


def _request(data: bytes) -> None:
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
    connection.receive_data(data)
    try:
        event = connection.next_event()
    except h11.RemoteProtocolError:
        return
    if not isinstance(event, h11.Request):
        return
    reply = reply_to(_tree(), event.method.decode("ascii"), event.target.decode("ascii"), joined(event))
    assert 200 <= reply.status <= 501, reply.status
    assert reply.status != 500, "what a client sends is no error of the server's"
    assert reply.length <= 10_000
    reply.close()


class _Sink(asyncio.Transport):
    """Takes all and keeps nothing."""

    def write(self, data: Any) -> None:
        pass

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        pass


async def _answer(data: bytes) -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(loop=loop)
    writer = asyncio.StreamWriter(_Sink(), asyncio.StreamReaderProtocol(reader, loop=loop), reader, loop)
    reader.feed_data(data)
    reader.feed_eof()
    download = Download(Url("http://10.0.0.1/file"), reader, writer, 5)
    with contextlib.suppress(Failure):
        await download.ask()
        async for _ in download.body():
            pass


def fuzz_scripts(data: bytes) -> None:
    """A packet script: `ScriptError` or nothing."""
    with contextlib.suppress(ScriptError):
        parse_script(data.decode("utf-8", "replace"), "fuzz.pkt")


TARGETS: Final[dict[str, Target]] = {
    "wire": fuzz_wire,
    "captures": fuzz_captures,
    "stack": fuzz_stack,
    "connection": run_connection,
    "pair": run_pair,
    "link": fuzz_link,
    "framing": fuzz_framing,
    "http": fuzz_http,
    "scripts": fuzz_scripts,
}
