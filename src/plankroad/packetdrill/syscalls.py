"""System calls of a script: their arguments as a `Ground` takes them, and what they left against what was expected.

`prepare` turns a `Syscall` into a `Prepared` one; `finish` says how it is not what the script expects.
"""

from __future__ import annotations

from typing import Final

from plankroad.packetdrill import calls_data, calls_ready, calls_socket
from plankroad.packetdrill.binding import (
    Arguments,
    Binder,
    Prepared,
)
from plankroad.packetdrill.constants import ERRORS, error_name
from plankroad.packetdrill.errors import BadScriptError
from plankroad.packetdrill.expressions import Anything, evaluate
from plankroad.packetdrill.syntax import Syscall
from plankroad.testing.call import Call

_MAKERS: Final = {**calls_socket.MAKERS, **calls_data.MAKERS, **calls_ready.MAKERS}


def prepare(binder: Binder, syscall: Syscall) -> Prepared:
    """Raises BadScriptError for a call that the language does not have, and for arguments that are not its."""
    maker = _MAKERS.get(syscall.name)
    if maker is None:
        raise BadScriptError(
            syscall.where, f'found the system call "{syscall.name}", expected one of {", ".join(sorted(_MAKERS))}'
        )
    prepared = Prepared(syscall.name)
    prepared.expected = evaluate(syscall.result)
    values = [evaluate(argument) for argument in syscall.arguments]
    maker(binder, prepared, Arguments(values, syscall))
    return prepared


def finish(binder: Binder, syscall: Syscall, prepared: Prepared, call: Call) -> list[str]:
    """The call has returned: note what it opened and closed, and say how it is not what the script expects."""
    found = _result_differences(syscall, prepared, call)
    if prepared.closes >= 0 and call.value == 0:
        binder.descriptors.forget(prepared.closes)
    if prepared.gives_fd and call.value >= 0 and isinstance(prepared.expected, int) and prepared.expected >= 0:
        binder.descriptors.bind(prepared.expected, call.value)
    if prepared.opens is not None and call.value == 0:
        binder.descriptors.bind(prepared.opens[0], call.fds[0])
        binder.descriptors.bind(prepared.opens[1], call.fds[1])
    if prepared.writes and call.value > 0:
        written = binder.streams.written
        written[prepared.fd] = written.get(prepared.fd, 0) + call.value
    if prepared.gives_fd and isinstance(prepared.expected, int):
        binder.streams.written.pop(prepared.expected, None)
    if not found:
        for check in prepared.checks:
            found += check(call)
    return found


def _result_differences(syscall: Syscall, prepared: Prepared, call: Call) -> list[str]:
    """The return value and errno against what the script expects."""
    expected = prepared.expected
    if isinstance(expected, Anything):
        return []
    if not isinstance(expected, int):
        raise BadScriptError(syscall.where, f"found {expected!r} as the result of {syscall.name}, expected a number")
    got = str(call.value)
    if call.value < 0:
        got += f" {error_name(call.errno)}"
    if prepared.gives_fd and expected >= 0 and call.value >= 0:
        return []
    if expected != call.value:
        wanted = f"{expected} {syscall.errno}".rstrip()
        return [f"{syscall.name} returned {got}, expected {wanted}"]
    if syscall.errno:
        number = ERRORS.get(syscall.errno)
        if number is None:
            raise BadScriptError(syscall.where, f'found the error "{syscall.errno}", expected one that Linux has')
        if expected != -1:
            raise BadScriptError(syscall.where, f'found the error "{syscall.errno}" with the result {expected}')
        if number != call.errno:
            return [f"{syscall.name} failed with {error_name(call.errno)}, expected {syscall.errno}"]
    return []
