"""Errors that a person can act on: one line on standard error, exit status 1."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

import click


class Failure(click.ClickException):
    """The command could not do what it was asked to; `message` is one line."""

    exit_code = 1


@contextmanager
def one_line() -> Iterator[None]:
    """OSError and ValueError from inside become a `Failure`; a closed standard output does not."""
    try:
        yield
    except OSError as exc:
        if exc.errno == errno.EPIPE:
            raise
        raise Failure(describe(exc)) from exc
    except ValueError as exc:
        raise Failure(str(exc)) from exc


def describe(exc: OSError) -> str:
    """What happened, without errno's number: "/dev/net/tun: no TUN driver: ..."."""
    text = exc.strerror or str(exc) or type(exc).__name__
    if exc.errno and not exc.filename and text.startswith("Connect call failed"):
        # asyncio's text says where to and not why.
        text = f"{os.strerror(exc.errno)} ({text[:1].lower()}{text[1:]})"
    return f"{exc.filename}: {text}" if exc.filename else text
