"""Where captures are written to: a path, or a binary file object of the caller's."""

from __future__ import annotations

import os
from typing import BinaryIO, cast

Target = str | os.PathLike[str] | BinaryIO


class Sink:
    """Writes whole blocks, each in one go and at once: a process that is killed leaves a file that can be read."""

    def __init__(self, target: Target) -> None:
        """A path is created or emptied, and closed by `close`; a file object is flushed and left open."""
        if isinstance(target, (str, os.PathLike)):
            # Unbuffered: each write is a system call of its own.
            self._file = cast(BinaryIO, open(target, "wb", buffering=0))  # noqa: SIM115
            self._owned = True
        else:
            self._file = target
            self._owned = False
        self.closed = False

    def write(self, block: bytes) -> None:
        """Raises OSError when it cannot be written, ValueError after `close`."""
        if self.closed:
            raise ValueError("the capture is closed")
        view = memoryview(block)
        while view:
            # A raw file may take less than all of it.
            written = self._file.write(view)
            view = view[len(view) if written is None else written :]
        if not self._owned:
            self._file.flush()

    def close(self) -> None:
        """Twice is harmless."""
        if not self.closed:
            self.closed = True
            if self._owned:
                self._file.close()
