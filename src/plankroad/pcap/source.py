"""Reading a file in exact pieces, telling the end of it from a break in the middle."""

from __future__ import annotations

from typing import BinaryIO

from plankroad.pcap.records import CaptureError


class Source:
    """A file read forward; `position`: bytes taken so far."""

    def __init__(self, file: BinaryIO, first: bytes = b"") -> None:
        """`first`: bytes that were already taken from the file."""
        self._file = file
        self._ahead = first
        self.position = 0

    def peek(self, size: int) -> bytes:
        """The next bytes, fewer at the end; they stay."""
        self._fill(size)
        return self._ahead[:size]

    def take(self, size: int, what: str) -> bytes:
        """Exactly `size` bytes. CaptureError where the file ends before; `what` is named in it."""
        self._fill(size)
        if len(self._ahead) < size:
            raise CaptureError(
                f"the file is cut off: {what} at byte {self.position} needs {size} bytes, {len(self._ahead)} are left"
            )
        data, self._ahead = self._ahead[:size], self._ahead[size:]
        self.position += size
        return data

    def _fill(self, size: int) -> None:
        while len(self._ahead) < size:
            more = self._file.read(size - len(self._ahead))
            if not more:
                return
            self._ahead += more
