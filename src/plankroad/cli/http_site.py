"""From a request to a reply: what a file server answers, without sending it."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Final

from plankroad.cli.http_rules import PROCEED, check_conditions, http_date, parse_ranges, range_applies
from plankroad.cli.http_tree import INDEX, Entry, RefusedError, Tree, content_type, location, path_of

METHODS: Final = ("GET", "HEAD")

#: RFC 9110 section 9.1 and RFC 5789: methods that are known and not allowed here; others are not implemented.
KNOWN_METHODS: Final = ("POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")

REASONS: Final = {
    200: "OK",
    206: "Partial Content",
    301: "Moved Permanently",
    304: "Not Modified",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    412: "Precondition Failed",
    416: "Range Not Satisfiable",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
}

#: A part of a body: bytes, or (offset, length) of the file.
Part = bytes | tuple[int, int]


class Reply:
    """A status, fields, and a body of parts; `entry` is the file they are of, which the reply owns: `close` it."""

    __slots__ = ("entry", "headers", "parts", "status")

    def __init__(
        self, status: int, headers: list[tuple[str, str]], parts: list[Part], entry: Entry | None = None
    ) -> None:
        self.status = status
        self.headers = headers
        self.parts = parts
        self.entry = entry

    @property
    def length(self) -> int:
        """Bytes of the body."""
        return sum(len(part) if isinstance(part, bytes) else part[1] for part in self.parts)

    def close(self) -> None:
        """Close the file, if there is one."""
        if self.entry is not None:
            self.entry.close()
            self.entry = None


def error(status: int, text: str, headers: list[tuple[str, str]] | None = None) -> Reply:
    """A reply that says what is wrong, as a line of text."""
    body = f"{status} {REASONS[status]}: {text}\n".encode()
    return Reply(status, [("Content-Type", "text/plain; charset=utf-8"), *(headers or [])], [body])


def reply_to(tree: Tree, method: str, target: str, headers: Mapping[str, str]) -> Reply:
    """The reply to a request. `headers`: by lower-case name, repeated ones joined with commas.

    A reply to HEAD has the same body as one to GET, for its length; it is not sent.
    """
    if method not in METHODS:
        if method in KNOWN_METHODS:
            return error(405, "this server only reads", [("Allow", ", ".join(METHODS))])
        return error(501, "unknown method")
    try:
        return _reply(tree, method, target, headers)
    except RefusedError as exc:
        return error(exc.status, exc.text)


def _reply(tree: Tree, method: str, target: str, headers: Mapping[str, str]) -> Reply:
    names, slash = path_of(target)
    entry = tree.open(names)
    try:
        if entry.is_directory:
            if not slash:
                query = target.partition("?")
                to = location(names) + query[1] + query[2]
                entry.close()
                return error(301, f"this is a directory: {to}", [("Location", to)])
            index = _index(tree, names)
            if index is None:
                body = tree.listing(entry, names)
                entry.close()
                return Reply(
                    200, [("Content-Type", "text/html; charset=utf-8"), ("Cache-Control", "no-cache")], [body]
                )
            entry.close()
            entry = index
        elif slash:
            raise RefusedError(404, "there is no such directory")
        return _file(entry, method, headers)
    except BaseException:
        entry.close()
        raise


def _index(tree: Tree, names: list[str]) -> Entry | None:
    for name in INDEX:
        try:
            entry = tree.open([*names, name])
        except RefusedError:
            continue
        if not entry.is_directory:
            return entry
        entry.close()
    return None


def _file(entry: Entry, method: str, headers: Mapping[str, str]) -> Reply:
    validators = entry.validators()
    size = entry.size
    common = [
        ("Last-Modified", http_date(validators.modified)),
        ("ETag", validators.etag),
        ("Accept-Ranges", "bytes"),
    ]
    verdict = check_conditions(headers, validators)
    if verdict != PROCEED:
        entry.close()
        if verdict == 304:
            return Reply(304, common, [])
        return error(412, "the file is not in the state asked for", common)
    kind = content_type(entry.name)
    ranges = None
    # RFC 9110 section 14.2: a Range counts with GET alone.
    if method == "GET" and "range" in headers and range_applies(headers, validators):
        ranges = parse_ranges(headers["range"], size)
    if ranges is None:
        return Reply(200, [("Content-Type", kind), *common], [(0, size)], entry)
    if not ranges:
        entry.close()
        return error(416, f"the file has {size} bytes", [("Content-Range", f"bytes */{size}"), *common])
    if len(ranges) == 1:
        first, last = ranges[0]
        fields = [("Content-Type", kind), ("Content-Range", f"bytes {first}-{last}/{size}"), *common]
        return Reply(206, fields, [(first, last - first + 1)], entry)
    # Section 14.6: several ranges are the parts of a multipart/byteranges.
    boundary = secrets.token_hex(16)
    parts: list[Part] = []
    for first, last in ranges:
        parts.append(
            f"\r\n--{boundary}\r\nContent-Type: {kind}\r\nContent-Range: bytes {first}-{last}/{size}\r\n\r\n".encode()
        )
        parts.append((first, last - first + 1))
    parts.append(f"\r\n--{boundary}--\r\n".encode())
    return Reply(206, [("Content-Type", f"multipart/byteranges; boundary={boundary}"), *common], parts, entry)
