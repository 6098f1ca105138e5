"""From errno to the exceptions that programs know."""

from __future__ import annotations

import errno
import os


def os_error(number: int, detail: str = "") -> OSError:
    """The exception for an errno: `ConnectionResetError`, `TimeoutError`, ... all of them OSErrors.

    `detail` takes the place of the usual text (`os.strerror`). 0 stands for a connection that ended without a reason.
    """
    if number == 0:
        number = errno.ECONNABORTED
    return OSError(number, detail or os.strerror(number))


def to_bytes(data: object) -> bytes:
    """`bytes` as they are; any other buffer copied. Raises TypeError for what is no buffer."""
    if type(data) is bytes:
        return data
    try:
        return bytes(memoryview(data))  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"data argument must be a bytes-like object, not {type(data).__name__!r}") from None
