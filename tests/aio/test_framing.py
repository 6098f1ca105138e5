"""Messages on a stream survive any cut of the stream, and limits hold."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plankroad.aio.framing import (
    Delimiter,
    FrameDecoder,
    FrameTooLarge,
    Framing,
    FramingError,
    IncompleteFrame,
    LengthPrefix,
    decode_varint,
    encode_varint,
    read_frames,
)

FRAMINGS: list[Framing] = [
    LengthPrefix(1),
    LengthPrefix(2),
    LengthPrefix(4),
    LengthPrefix(8),
    LengthPrefix(2, "little"),
    LengthPrefix(4, "little"),
    LengthPrefix(0),
    Delimiter(b"\n"),
    Delimiter(b"\r\n"),
    Delimiter(b"--end--"),
]

MESSAGES = st.lists(st.binary(max_size=200).filter(lambda m: b"\n" not in m and b"-" not in m and b"\r" not in m))


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    """`data` cut at the positions."""
    at = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    return [data[a:b] for a, b in itertools.pairwise(at)]


async def read_all(chunks: list[bytes], framing: Framing, limit: int = 2**16) -> list[bytes]:
    """What `read_frames` gives when the stream arrives in `chunks`."""
    reader = asyncio.StreamReader(limit=limit)

    async def feed() -> None:
        for chunk in chunks:
            reader.feed_data(chunk)
            await asyncio.sleep(0)
        reader.feed_eof()

    feeder = asyncio.ensure_future(feed())
    try:
        return [message async for message in read_frames(reader, framing)]
    finally:
        await feeder


@pytest.mark.parametrize("framing", FRAMINGS, ids=repr)
@given(messages=MESSAGES, cuts=st.lists(st.integers(0, 5000), max_size=12))
def test_messages_come_out_as_they_went_in_however_the_stream_is_cut(
    framing: Framing, messages: list[bytes], cuts: list[int]
) -> None:
    stream = b"".join(framing.encode(message) for message in messages)
    chunks = pieces(stream, cuts)
    decoder = FrameDecoder(framing)
    decoded = [message for chunk in chunks for message in decoder.feed(chunk)]
    decoder.finish()
    assert decoded == messages
    assert asyncio.run(read_all(chunks, framing)) == messages


@pytest.mark.parametrize(
    ("framing", "frame"),
    [
        (LengthPrefix(1), b"\x03abc"),
        (LengthPrefix(2), b"\x00\x03abc"),
        (LengthPrefix(4), b"\x00\x00\x00\x03abc"),
        (LengthPrefix(8), b"\x00\x00\x00\x00\x00\x00\x00\x03abc"),
        (LengthPrefix(2, "little"), b"\x03\x00abc"),
        (LengthPrefix(0), b"\x03abc"),
        (Delimiter(), b"abc\n"),
        (Delimiter(b"\0"), b"abc\0"),
    ],
    ids=repr,
)
def test_the_octets_of_a_frame(framing: Framing, frame: bytes) -> None:
    assert framing.encode(bytearray(b"abc")) == frame
    assert framing.encode(memoryview(b"abc")) == frame


@pytest.mark.parametrize("framing", FRAMINGS, ids=repr)
def test_a_stream_that_ends_inside_a_frame_says_what_there_was(framing: Framing) -> None:
    frame = framing.encode(b"message")
    for length in range(1, len(frame)):
        decoder = FrameDecoder(framing)
        assert list(decoder.feed(frame[:length])) == []
        with pytest.raises(IncompleteFrame) as caught:
            decoder.finish()
        assert caught.value.partial == frame[:length]
        with pytest.raises(IncompleteFrame) as caught:
            asyncio.run(read_all([frame[:length]], framing))
        assert caught.value.partial == frame[:length]
        assert isinstance(caught.value, EOFError)


def test_a_length_over_the_limit_is_refused_before_the_message_comes() -> None:
    framing = LengthPrefix(4, limit=10)
    for send in (b"\0\0\0\x0b", b"\xff\xff\xff\xff"):
        decoder = FrameDecoder(framing)
        with pytest.raises(FrameTooLarge) as caught:
            list(decoder.feed(send))
        assert caught.value.size == int.from_bytes(send, "big")
        assert caught.value.limit == 10
        with pytest.raises(FrameTooLarge):
            asyncio.run(read_all([send], framing))
    assert list(FrameDecoder(framing).feed(b"\0\0\0\x0a0123456789")) == [b"0123456789"]
    with pytest.raises(FrameTooLarge):
        framing.encode(bytes(11))


@pytest.mark.parametrize("reader_limit", [8, 16, 2**16])
def test_a_line_over_the_limit_is_refused_though_its_end_never_comes(reader_limit: int) -> None:
    framing = Delimiter(b"\r\n", limit=20)
    assert asyncio.run(read_all([b"x" * 20 + b"\r\n"], framing, reader_limit)) == [b"x" * 20]
    assert list(FrameDecoder(framing).feed(b"x" * 20 + b"\r\n")) == [b"x" * 20]
    for text in (b"x" * 21 + b"\r\n", b"x" * 100):
        with pytest.raises(FrameTooLarge):
            list(FrameDecoder(framing).feed(text))
        with pytest.raises(FrameTooLarge):
            asyncio.run(read_all([text], framing, reader_limit))


def test_a_delimited_message_may_be_larger_than_the_readers_own_limit() -> None:
    message = bytes(range(32, 127)) * 100
    for size in (1, 7, 4096):
        chunks = [(message + b"\r\n")[i : i + size] for i in range(0, len(message) + 2, size)]
        assert asyncio.run(read_all(chunks, Delimiter(b"\r\n"), limit=64)) == [message]


def test_a_decoder_that_failed_stays_failed() -> None:
    decoder = FrameDecoder(LengthPrefix(1, limit=1))
    assert list(decoder.feed(b"\x01a")) == [b"a"]
    for data in (b"\x05", b"\x01a"):
        with pytest.raises(FrameTooLarge):
            list(decoder.feed(data))


def test_messages_before_the_bad_one_are_given() -> None:
    decoder = FrameDecoder(LengthPrefix(1, limit=3))
    messages = decoder.feed(b"\x01a\x02bb\x04cccc")
    assert next(messages) == b"a"
    assert next(messages) == b"bb"
    with pytest.raises(FrameTooLarge):
        next(messages)


def test_a_message_that_contains_the_delimiter_is_refused() -> None:
    for message, delimiter in ((b"a\nb", b"\n"), (b"xa", b"aa"), (b"\r\n", b"\r\n")):
        with pytest.raises(ValueError, match="delimiter"):
            Delimiter(delimiter).encode(message)


def test_an_optional_carriage_return_is_stripped() -> None:
    framing = Delimiter(b"\n", strip=b"\r")
    assert list(FrameDecoder(framing).feed(b"a\r\nb\n\r\n")) == [b"a", b"b", b""]
    assert asyncio.run(read_all([b"a\r\nb\n\r\n"], framing)) == [b"a", b"b", b""]


@given(st.integers(0, 2**64 - 1))
def test_varints_read_back(value: int) -> None:
    encoded = encode_varint(value)
    assert decode_varint(b"x" + encoded + b"\xff", 1) == (value, len(encoded))
    for length in range(len(encoded)):
        assert decode_varint(encoded[:length], 0) == (0, 0)


def test_a_varint_without_end_is_refused() -> None:
    with pytest.raises(FramingError, match="varint"):
        list(FrameDecoder(LengthPrefix(0)).feed(b"\x80" * 10))
    with pytest.raises(FramingError, match="varint"):
        asyncio.run(read_all([b"\x80" * 10], LengthPrefix(0)))


def test_bad_framings_are_refused() -> None:
    for size in (3, -1, 16):
        with pytest.raises(ValueError, match="size"):
            LengthPrefix(size)
    with pytest.raises(ValueError, match="byteorder"):
        LengthPrefix(2, "middle")
    with pytest.raises(ValueError, match="delimiter"):
        Delimiter(b"")
    with pytest.raises(ValueError, match="limit"):
        Delimiter(limit=-1)
    with pytest.raises(TypeError):
        LengthPrefix().encode("text")
    with pytest.raises(TypeError, match="LengthPrefix or a Delimiter"):
        asyncio.run(read_all([b"x"], Framing(1)))


def test_an_empty_stream_has_no_frames() -> None:
    for framing in FRAMINGS:
        assert asyncio.run(read_all([], framing)) == []


def test_searching_for_a_delimiter_does_not_begin_anew_with_each_octet() -> None:
    # 200 kB fed octet by octet take ten seconds where each octet costs a search of all before.
    decoder = FrameDecoder(Delimiter(b"\r\n"))
    for _ in range(200_000):
        decoder.push(b"\r")
        assert decoder.next_message() is None
    assert decoder._searched == 199_999
    decoder.push(b"\n")
    message = decoder.next_message()
    assert message is not None
    assert len(message) == 199_999
