"""Messages on a stream. TCP carries octets and knows no boundaries (RFC 9293 section 2.2): one write may arrive in
pieces, two may arrive as one. A frame says where a message ends.

Two kinds: `LengthPrefix` (a fixed-size integer or a varint, then the message) and `Delimiter` (the message, then an
octet string that is not part of any message). Both are plain descriptions, to be used

- with streams: `await read_frame(reader, framing)`, `write_frame(writer, framing, message)`;
- in a protocol, or anywhere: `FrameDecoder(framing)`, which takes octets as they come and gives messages.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

from plankroad.aio.errors import to_bytes

#: Largest message unless a framing is told otherwise: a peer cannot make us keep more than this.
DEFAULT_LIMIT: Final = 1024 * 1024

#: A varint of 64 bits has at most this many octets (7 bits each).
MAX_VARINT: Final = 10


class FramingError(ValueError):
    """The stream cannot be cut into frames any more."""


class FrameTooLarge(FramingError):  # noqa: N818 - what happened, as asyncio.IncompleteReadError and LimitOverrunError
    """A message is longer than the limit. `size` is its length where it was told, else how much there already is."""

    def __init__(self, size: int, limit: int, *, known: bool = True) -> None:
        self.size = size
        self.limit = limit
        what = f"a message of {size} bytes" if known else f"a message of at least {size} bytes without an end"
        super().__init__(f"{what} is larger than the limit of {limit} bytes")


class IncompleteFrame(FramingError, EOFError):  # noqa: N818
    """The stream ended inside a frame. `partial` holds the octets of it that came, prefix included."""

    def __init__(self, partial: bytes) -> None:
        self.partial = partial
        super().__init__(f"the stream ended inside a frame, after {len(partial)} bytes of it")


class Framing:
    """Base of the two kinds. `limit`: bytes of the largest message, both ways."""

    __slots__ = ("limit",)

    def __init__(self, limit: int) -> None:
        if limit < 0:
            raise ValueError(f"limit must not be negative, and is {limit}")
        self.limit = limit

    def encode(self, message: Any) -> bytes:
        """The frame of a message (any buffer). Raises FrameTooLarge, and ValueError for one that cannot be framed."""
        raise NotImplementedError

    def find(self, buffer: bytearray, start: int, searched: int) -> tuple[int, int, int]:
        """Look for a whole frame at `start`: (first octet of the message, octet after it, octet after the frame).

        (-1, n, 0) where more octets are needed; `n` is what to pass as `searched` next time (octets from `start`
        that need not be looked at again). Raises FramingError.
        """
        raise NotImplementedError


class LengthPrefix(Framing):
    """A length, then as many octets.

    `size`: octets of the length, 1, 2, 4 or 8, or 0 for a varint (base 128, least significant group first, high bit
    set on all but the last octet). `byteorder`: "big" (network order) or "little".
    """

    __slots__ = ("byteorder", "size")

    def __init__(self, size: int = 4, byteorder: str = "big", *, limit: int = DEFAULT_LIMIT) -> None:
        super().__init__(limit)
        if size not in (0, 1, 2, 4, 8):
            raise ValueError(f"size must be 1, 2, 4, 8, or 0 for a varint, not {size}")
        if byteorder not in ("big", "little"):
            raise ValueError(f'byteorder must be "big" or "little", not {byteorder!r}')
        self.size = size
        self.byteorder: Any = byteorder
        if size:
            self.limit = min(limit, (1 << 8 * size) - 1)

    def __repr__(self) -> str:
        return f"LengthPrefix({self.size}, {self.byteorder!r}, limit={self.limit})"

    def encode(self, message: Any) -> bytes:
        data = to_bytes(message)
        if len(data) > self.limit:
            raise FrameTooLarge(len(data), self.limit)
        if self.size:
            return len(data).to_bytes(self.size, self.byteorder) + data
        return encode_varint(len(data)) + data

    def find(self, buffer: bytearray, start: int, searched: int) -> tuple[int, int, int]:
        available = len(buffer) - start
        if self.size:
            if available < self.size:
                return -1, 0, 0
            body = start + self.size
            length = int.from_bytes(buffer[start:body], self.byteorder)
        else:
            length, used = decode_varint(buffer, start)
            if used == 0:
                return -1, 0, 0
            body = start + used
        if length > self.limit:
            raise FrameTooLarge(length, self.limit)
        if len(buffer) - body < length:
            return -1, 0, 0
        return body, body + length, body + length


class Delimiter(Framing):
    """A message, then `delimiter`, which no message contains. The default is a line feed.

    `strip`: octets taken off the end of each message as well, as the carriage return of b"\\r\\n" where both kinds of
    line are to be read.
    """

    __slots__ = ("delimiter", "strip")

    def __init__(self, delimiter: bytes = b"\n", *, strip: bytes = b"", limit: int = DEFAULT_LIMIT) -> None:
        super().__init__(limit)
        if not delimiter:
            raise ValueError("a delimiter has at least one byte")
        self.delimiter = bytes(delimiter)
        self.strip = bytes(strip)

    def __repr__(self) -> str:
        return f"Delimiter({self.delimiter!r}, limit={self.limit})"

    def encode(self, message: Any) -> bytes:
        data = to_bytes(message)
        if len(data) > self.limit:
            raise FrameTooLarge(len(data), self.limit)
        # The end of the message and the delimiter together may hold the delimiter earlier (b"xa" and b"aa").
        if (data + self.delimiter).find(self.delimiter) != len(data):
            raise ValueError(f"the message contains the delimiter {self.delimiter!r}")
        return data + self.delimiter

    def find(self, buffer: bytearray, start: int, searched: int) -> tuple[int, int, int]:
        at = buffer.find(self.delimiter, start + searched)
        if at < 0:
            available = len(buffer) - start
            # The last octets may be the beginning of the delimiter.
            message = available - len(self.delimiter) + 1
            if message > self.limit:
                raise FrameTooLarge(message, self.limit, known=False)
            return -1, max(message, 0), 0
        if at - start > self.limit:
            raise FrameTooLarge(at - start, self.limit)
        end = at
        if self.strip:
            end = start + len(bytes(buffer[start:at]).removesuffix(self.strip))
        return start, end, at + len(self.delimiter)


class FrameDecoder:
    """Takes octets as they come, gives messages; no I/O.

        for message in decoder.feed(data): ...
        decoder.finish()                     # at the end of the stream

    After a FramingError the decoder is of no more use: where the next frame would begin is unknown.
    """

    __slots__ = ("_buffer", "_failed", "_framing", "_searched", "_start")

    def __init__(self, framing: Framing) -> None:
        self._framing = framing
        self._buffer = bytearray()
        self._start = 0  # octets of the buffer that were given already
        self._searched = 0
        self._failed: FramingError | None = None

    @property
    def pending(self) -> int:
        """Octets of a frame that is not complete."""
        return len(self._buffer) - self._start

    def push(self, data: Any) -> None:
        """Take octets, any buffer; `next_message` then gives what is complete."""
        if self._start:
            del self._buffer[: self._start]
            self._start = 0
        self._buffer += data

    def next_message(self) -> bytes | None:
        """The next whole message, None where more octets are needed. Raises FrameTooLarge."""
        if self._failed is not None:
            raise self._failed
        try:
            first, end, after = self._framing.find(self._buffer, self._start, self._searched)
        except FramingError as exc:
            self._failed = exc
            raise
        if first < 0:
            self._searched = end
            return None
        message = bytes(memoryview(self._buffer)[first:end])
        self._start = after
        self._searched = 0
        return message

    def feed(self, data: Any) -> Iterator[bytes]:
        """Take octets and give the messages that they complete, one at a time. Raises FrameTooLarge.

        What is not taken out of the iterator is given by the next call.
        """
        self.push(data)
        return self._messages()

    def finish(self) -> None:
        """The stream has ended. Raises IncompleteFrame where it ended inside a frame."""
        if self.pending:
            raise IncompleteFrame(bytes(self._buffer[self._start :]))

    def _messages(self) -> Iterator[bytes]:
        while (message := self.next_message()) is not None:
            yield message


async def read_frame(reader: asyncio.StreamReader, framing: Framing) -> bytes | None:
    """The next message of a stream; None where it ended between two frames.

    Reads no octet past the frame. Raises FrameTooLarge (nothing of the message is kept) and IncompleteFrame, and what
    the reader raises when the connection failed. A delimited message may be larger than the reader's own limit.
    """
    if isinstance(framing, LengthPrefix):
        return await _read_prefixed(reader, framing)
    if isinstance(framing, Delimiter):
        return await _read_delimited(reader, framing)
    raise TypeError(f"read_frame takes a LengthPrefix or a Delimiter, not {type(framing).__name__!r}")


async def read_frames(reader: asyncio.StreamReader, framing: Framing) -> AsyncIterator[bytes]:
    """All messages of a stream, until it ends. Raises as `read_frame`."""
    while (message := await read_frame(reader, framing)) is not None:
        yield message


def write_frame(writer: asyncio.StreamWriter, framing: Framing, message: Any) -> None:
    """Write a message, any buffer, as one frame; `await writer.drain()` for back-pressure. Raises as `encode`."""
    writer.write(framing.encode(message))


async def _read_prefixed(reader: asyncio.StreamReader, framing: LengthPrefix) -> bytes | None:
    prefix = b""
    length = 0
    try:
        if framing.size:
            prefix = await reader.readexactly(framing.size)
            length = int.from_bytes(prefix, framing.byteorder)
        else:
            while not prefix or prefix[-1] & 0x80:
                prefix += await reader.readexactly(1)
                length, _ = decode_varint(prefix, 0)
    except asyncio.IncompleteReadError as exc:
        partial = prefix + exc.partial
        if not partial:
            return None
        raise IncompleteFrame(partial) from None
    if length > framing.limit:
        raise FrameTooLarge(length, framing.limit)
    try:
        return await reader.readexactly(length)
    except asyncio.IncompleteReadError as exc:
        raise IncompleteFrame(prefix + exc.partial) from None


async def _read_delimited(reader: asyncio.StreamReader, framing: Delimiter) -> bytes | None:
    message = bytearray()
    while True:
        try:
            message += await reader.readuntil(framing.delimiter)
        except asyncio.LimitOverrunError as exc:
            # The reader's buffer is full: take what cannot be part of the delimiter, and look on.
            message += await reader.readexactly(exc.consumed)
        except asyncio.IncompleteReadError as exc:
            partial = bytes(message) + exc.partial
            if not partial:
                return None
            least = len(partial) - len(framing.delimiter) + 1
            if least > framing.limit:
                raise FrameTooLarge(least, framing.limit, known=False) from None
            raise IncompleteFrame(partial) from None
        if message.endswith(framing.delimiter):
            break
        if len(message) > framing.limit:
            raise FrameTooLarge(len(message), framing.limit, known=False)
    del message[-len(framing.delimiter) :]
    if len(message) > framing.limit:
        raise FrameTooLarge(len(message), framing.limit)
    return bytes(message).removesuffix(framing.strip) if framing.strip else bytes(message)


def encode_varint(value: int) -> bytes:
    """Base 128, least significant group first; the high bit is set on all octets but the last."""
    if value < 0:
        raise ValueError(f"a varint is not negative: {value}")
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def decode_varint(buffer: bytes | bytearray, start: int) -> tuple[int, int]:
    """Value and number of octets of the varint at `start`; (0, 0) where it is not complete.

    Raises FramingError for one longer than 64 bits take.
    """
    value = 0
    for i in range(start, min(len(buffer), start + MAX_VARINT)):
        octet = buffer[i]
        value |= (octet & 0x7F) << 7 * (i - start)
        if octet < 0x80:
            return value, i - start + 1
    if len(buffer) - start >= MAX_VARINT:
        raise FramingError(f"a varint of more than {MAX_VARINT} bytes")
    return 0, 0
