"""A directory as it is served: paths to files that are in it and nowhere else, and listings."""

from __future__ import annotations

import errno
import html
import mimetypes
import os
import stat
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from plankroad.cli.http_rules import Validators

#: Files that stand for the directory they are in.
INDEX: Final = ("index.html", "index.htm")

#: A FIFO must not make us wait for its writer.
_OPEN: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW


class RefusedError(Exception):
    """The request is answered with `status`, and `text` in the body."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


class Entry:
    """An open file or directory; `close` it. `name` is its own, "" for the root."""

    __slots__ = ("fd", "info", "name")

    def __init__(self, fd: int, info: os.stat_result, name: str) -> None:
        self.fd = fd
        self.info = info
        self.name = name

    @property
    def is_directory(self) -> bool:
        """Not a file."""
        return stat.S_ISDIR(self.info.st_mode)

    @property
    def size(self) -> int:
        """Bytes."""
        return self.info.st_size

    def validators(self) -> Validators:
        """Its entity tag, from size and time of change, and that time."""
        return Validators(
            f'"{self.info.st_mtime_ns:x}-{self.info.st_size:x}"', self.info.st_mtime_ns // 1_000_000_000
        )

    def close(self) -> None:
        """Give the descriptor back; twice is harmless."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class Tree:
    """The directory `root`. Symbolic links are followed as long as they lead to something inside of it."""

    def __init__(self, root: str) -> None:
        """Raises OSError where it is no directory that can be read."""
        self.root = os.path.realpath(root)
        os.close(os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))

    def open(self, names: Sequence[str]) -> Entry:
        """The file or directory that the path of `names` leads to. Raises `RefusedError`."""
        try:
            return self._open(names)
        except (FileNotFoundError, NotADirectoryError):
            raise RefusedError(404, "there is no such file") from None
        except PermissionError:
            raise RefusedError(403, "this file may not be read") from None
        except OSError as exc:
            # A name that is too long, a link that leads to itself, one that was put there while we looked.
            if exc.errno in (errno.ENAMETOOLONG, errno.ELOOP, errno.ENXIO):
                raise RefusedError(404, "there is no such file") from None
            raise RefusedError(500, f"the file cannot be read: {exc.strerror}") from None

    def _open(self, names: Sequence[str]) -> Entry:
        real = os.path.realpath(os.path.join(self.root, *names))
        inside = os.path.relpath(real, self.root)
        if inside == os.pardir or inside.startswith(os.pardir + os.sep):
            raise RefusedError(403, "this link leads out of the directory that is served")
        fd = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            # The path has no links any more. One that appears only now is not followed.
            for part in [] if inside == os.curdir else inside.split(os.sep):
                mode = os.stat(part, dir_fd=fd, follow_symlinks=False).st_mode
                if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)):
                    raise RefusedError(403, "this is no ordinary file")
                deeper = os.open(part, _OPEN, dir_fd=fd)
                os.close(fd)
                fd = deeper
            info = os.fstat(fd)
            if not (stat.S_ISREG(info.st_mode) or stat.S_ISDIR(info.st_mode)):
                raise RefusedError(403, "this is no ordinary file")
        except BaseException:
            os.close(fd)
            raise
        return Entry(fd, info, names[-1] if names else "")

    def contains(self, names: Sequence[str]) -> bool:
        """Whether a path ends inside of the tree."""
        real = os.path.realpath(os.path.join(self.root, *names))
        return os.path.commonpath([self.root, real]) == self.root

    def listing(self, entry: Entry, names: Sequence[str]) -> bytes:
        """The directory as a page of HTML: directories first, then by name; sizes in bytes, times in UTC."""
        rows: list[tuple[bool, str, str, os.stat_result]] = []
        with os.scandir(entry.fd) as found:
            for one in found:
                try:
                    info = one.stat()
                except OSError:
                    continue  # a link to nowhere, or gone meanwhile
                if one.is_symlink() and not self.contains([*names, one.name]):
                    continue
                if stat.S_ISDIR(info.st_mode) or stat.S_ISREG(info.st_mode):
                    rows.append((not stat.S_ISDIR(info.st_mode), one.name.casefold(), one.name, info))
        rows.sort(key=lambda row: row[:3])
        title = html.escape("/" + "".join(shown(name) + "/" for name in names))
        lines = [
            "<!DOCTYPE html>",
            '<html lang="en"><head><meta charset="utf-8"><title>' + title + "</title>",
            "<style>body{font-family:sans-serif}td{padding:0 1em}td.n{text-align:right}</style></head>",
            f"<body><h1>{title}</h1><table>",
        ]
        if names:
            lines.append('<tr><td><a href="../">../</a></td><td></td><td></td></tr>')
        for is_file, _, name, info in rows:
            slash = "" if is_file else "/"
            size = f"{info.st_size:,}" if is_file else ""
            when = datetime.fromtimestamp(info.st_mtime_ns // 1_000_000_000, UTC).strftime("%Y-%m-%d %H:%M")
            lines.append(
                f'<tr><td><a href="{quoted(name)}{slash}">{html.escape(shown(name))}{slash}</a></td>'
                f'<td class="n">{size}</td><td>{when}</td></tr>'
            )
        lines.append("</table></body></html>\n")
        return "\n".join(lines).encode()


def path_of(target: str) -> tuple[list[str], bool]:
    """The names that a request's target leads through, and whether it ends with a slash.

    RFC 9112 section 3.2: a path, or the whole URL with it. Dots are resolved (RFC 3986 section 5.2.4), and do not lead
    above the root. Raises `RefusedError`.
    """
    if not target.startswith("/"):
        scheme, colon, rest = target.partition("://")
        if not colon or scheme.lower() not in ("http", "https"):
            raise RefusedError(400, "the target of the request is no path")
        slash = rest.find("/")
        target = rest[slash:] if slash >= 0 else "/"
    path = target.partition("?")[0].partition("#")[0]
    names: list[str] = []
    parts = path.split("/")[1:]
    for part in parts:
        raw = unquote_to_bytes(part)
        if b"\0" in raw:
            raise RefusedError(400, "the path has a zero byte")
        if b"/" in raw:
            raise RefusedError(404, "there is no such file")
        if raw == b"..":
            if not names:
                raise RefusedError(404, "there is no such file")
            names.pop()
        elif raw not in (b"", b"."):
            names.append(os.fsdecode(raw))
    return names, unquote_to_bytes(parts[-1]) in (b"", b".", b"..")


def location(names: Sequence[str]) -> str:
    """The path of a directory, as a redirect needs it."""
    return "/" + "".join(quoted(name) + "/" for name in names)


def quoted(name: str) -> str:
    """A name as part of a URL."""
    return quote(os.fsencode(name), safe="")


def shown(name: str) -> str:
    """A name as text that can be encoded, whatever bytes it has."""
    return os.fsencode(name).decode("utf-8", "replace")


def content_type(name: str) -> str:
    """By the name. What is compressed is sent as it is, so it is not of the type of its content."""
    kind, encoding = mimetypes.guess_type(shown(name), strict=False)
    if encoding is not None:
        return {"gzip": "application/gzip", "bzip2": "application/x-bzip2", "xz": "application/x-xz"}.get(
            encoding, "application/octet-stream"
        )
    return kind or "application/octet-stream"
