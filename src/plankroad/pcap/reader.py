"""Reading captures: pcapng and classic pcap, either byte order, whole or damaged."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterator
from types import TracebackType
from typing import BinaryIO, Final, cast

from plankroad.pcap.pcap_reader import read_pcap
from plankroad.pcap.pcapng_reader import read_pcapng
from plankroad.pcap.records import CapturedPacket, CaptureError, CaptureInterface
from plankroad.pcap.source import Source

_GZIP_MAGIC: Final = b"\x1f\x8b"

#: What unpacking raises where the packed file is damaged or cut off.
_UNPACKING: Final = (EOFError, gzip.BadGzipFile, zlib.error)


class CaptureReader:
    """The packets of a capture file, in its order: iterate once.

    A file that breaks off or turns into nonsense gives the packets before that place, and `problem` then says what
    is wrong and where; with `strict` that is raised as `CaptureError`. What is no capture at all raises in any case.
    `interfaces` fills while reading: pcapng may describe one anywhere. With several sections it has those of all.
    """

    def __init__(self, source: str | os.PathLike[str] | BinaryIO, *, strict: bool = False) -> None:
        """`source`: a path or a binary file object; compressed by gzip or not. OSError where it cannot be read."""
        self.interfaces: list[CaptureInterface] = []
        self.problem: str = ""
        self.strict = strict
        self._owned: list[BinaryIO] = []
        if isinstance(source, (str, os.PathLike)):
            file = cast(BinaryIO, open(source, "rb"))  # noqa: SIM115
            self._owned.append(file)
        else:
            file = source
        try:
            magic = file.read(4)
            if magic[:2] == _GZIP_MAGIC:
                file = cast(BinaryIO, gzip.GzipFile(mode="rb", fileobj=cast(BinaryIO, _Rejoined(magic, file))))
                magic = b""
            data = Source(file, magic)
            self.format, self._packets = self._open(data)
        except BaseException:
            self.close()
            raise

    def _open(self, data: Source) -> tuple[str, Iterator[CapturedPacket]]:
        try:
            return self._recognize(data)
        except _UNPACKING as error:
            raise CaptureError(f"not a capture file: {error}") from error

    def _recognize(self, data: Source) -> tuple[str, Iterator[CapturedPacket]]:
        magic = data.peek(4)
        if magic == b"\x0a\x0d\x0d\x0a":
            return "pcapng", read_pcapng(data, self.interfaces)
        packets = read_pcap(data, self.interfaces)
        if packets is not None:
            return "pcap", packets
        if not magic:
            raise CaptureError("not a capture file: it is empty")
        raise CaptureError(f"not a capture file: it begins with the bytes {magic.hex(' ')}")

    def __iter__(self) -> Iterator[CapturedPacket]:
        try:
            yield from self._packets
        except (CaptureError, *_UNPACKING) as error:
            self.problem = str(error)
            if self.strict:
                raise error if isinstance(error, CaptureError) else CaptureError(self.problem) from error

    def close(self) -> None:
        """Close what was opened by its path. Twice is harmless."""
        for file in self._owned:
            file.close()

    def __enter__(self) -> CaptureReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_capture(source: str | os.PathLike[str] | BinaryIO) -> list[CapturedPacket]:
    """All packets of a file. Raises CaptureError where it is damaged, OSError where it cannot be read."""
    with CaptureReader(source, strict=True) as reader:
        return list(reader)


class _Rejoined:
    """A file with the bytes that were read for a look put back in front, as far as gzip needs one."""

    def __init__(self, first: bytes, rest: BinaryIO) -> None:
        self._first = first
        self._rest = rest

    def read(self, size: int = -1) -> bytes:
        if self._first:
            if 0 <= size <= len(self._first):
                part, self._first = self._first[:size], self._first[size:]
                return part
            part, self._first = self._first, b""
            return part + self._rest.read(size - len(part) if size >= 0 else -1)
        return self._rest.read(size)
