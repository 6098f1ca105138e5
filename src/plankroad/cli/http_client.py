"""An HTTP/1.1 client for one file, on a stack of our own: GET, redirects, whole bodies or an error."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Final, TypeVar
from urllib.parse import quote, urljoin, urlsplit

import h11

from plankroad._build import __version__
from plankroad.aio.stack import AsyncStack
from plankroad.cli.errors import Failure, describe

MAX_REDIRECTS: Final = 10

#: Bytes taken from the connection at once, and the StreamReader's limit.
READ: Final = 1 << 18
LIMIT: Final = 1 << 20

#: Seconds until the next address of a host is tried as well (RFC 8305 section 5).
HAPPY_DELAY: Final = 0.25

#: RFC 9110 section 15.4: those whose Location is to be followed with a GET.
REDIRECTS: Final = (301, 302, 303, 307, 308)

#: Characters of a URL's path and query that stand as they are (RFC 3986 section 3.3 and 3.4); % is taken as encoded.
_PATH_SAFE: Final = "/%:@!$&'()*+,;=~-._"

T = TypeVar("T")


class Url:
    """The parts of an http URL that a request needs. `text` is the URL itself."""

    __slots__ = ("host", "port", "target", "text")

    def __init__(self, text: str) -> None:
        """Raises `Failure` for what is no http URL."""
        self.text = text
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError as exc:
            raise Failure(f"{text!r} is no URL: {exc}") from exc
        if parts.scheme.lower() == "https":
            raise Failure(f"{text}: https is not spoken here; use an http URL")
        if parts.scheme.lower() != "http" or not parts.hostname:
            raise Failure(f"{text!r} is no http URL; write for example http://10.97.0.1/file")
        if parts.username is not None:
            raise Failure(f"{text!r} has a user name in it, which is not sent; leave it out")
        try:
            self.host = parts.hostname if parts.hostname.isascii() else parts.hostname.encode("idna").decode()
        except UnicodeError:
            raise Failure(f"{parts.hostname!r} is no name of a host") from None
        self.port = 80 if port is None else port
        query = f"?{quote(parts.query, safe=_PATH_SAFE + '?')}" if parts.query else ""
        self.target = (quote(parts.path, safe=_PATH_SAFE) or "/") + query

    def authority(self) -> str:
        """Host and port, as the Host field has them (RFC 9110 section 7.2)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == 80 else f"{host}:{self.port}"


class Download:
    """The answer to a GET: `body` yields it. `length`: bytes to come, None where the server did not say."""

    def __init__(self, url: Url, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, timeout: float) -> None:
        self.url = url
        self.status = 0
        self.reason = ""
        self.headers: dict[str, str] = {}
        self.length: int | None = None
        self._reader = reader
        self._writer = writer
        self._timeout = timeout
        self._h11 = h11.Connection(h11.CLIENT)

    async def ask(self) -> None:
        """Send the request and read the head of the answer."""
        request = h11.Request(
            method="GET",
            target=self.url.target,
            headers=[
                ("Host", self.url.authority()),
                ("User-Agent", f"plankroad/{__version__}"),
                ("Accept", "*/*"),
                ("Accept-Encoding", "identity"),
                ("Connection", "close"),
            ],
        )
        for event in (request, h11.EndOfMessage()):
            data = self._h11.send(event)
            if data:
                self._writer.write(data)
        while True:
            answer = await self._next()
            if isinstance(answer, h11.Response):
                break
            assert isinstance(answer, h11.InformationalResponse)
        self.status = answer.status_code
        self.reason = answer.reason.decode("latin-1")
        self.headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in answer.headers}
        if "transfer-encoding" not in self.headers and self.headers.get("content-length", "").isdigit():
            self.length = int(self.headers["content-length"])

    async def body(self) -> AsyncIterator[bytes]:
        """The body in pieces, to its end. Raises `Failure` where it comes to no proper end."""
        while True:
            event = await self._next()
            if isinstance(event, h11.Data):
                yield bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return

    async def _next(self) -> object:
        while True:
            try:
                event = self._h11.next_event()
            except h11.RemoteProtocolError as exc:
                raise Failure(f"{self.url.text}: the server's answer is not HTTP, or not whole: {exc}") from exc
            if event is not h11.NEED_DATA:
                return event
            data = await told(self._reader.read(READ), self.url, self._timeout, "the server sent nothing")
            if not data and not self.status and not self._h11.trailing_data[0]:
                raise Failure(f"{self.url.text}: the server closed the connection without an answer")
            self._h11.receive_data(data)

    async def close(self) -> None:
        """Close the connection in order."""
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()


async def get(stack: AsyncStack, text: str, timeout: float, check: Callable[[str], Awaitable[object]]) -> Download:
    """Ask for a URL, and for those it redirects to; the last answer. The caller closes it.

    `timeout`: seconds for the connection, and for each time that the server is waited for. `check` is asked
    about each host before, and raises `Failure` for those that make no sense. Raises `Failure`.
    """
    for _ in range(MAX_REDIRECTS + 1):
        url = Url(text)
        await check(url.host)
        reader, writer = await told(connect(stack, url), url, timeout, "no connection")
        download = Download(url, reader, writer, timeout)
        try:
            await download.ask()
        except BaseException:
            writer.transport.abort()
            raise
        to = download.headers.get("location")
        if download.status not in REDIRECTS or to is None:
            return download
        await download.close()
        text = urljoin(text, to)
    raise Failure(f"{text}: more than {MAX_REDIRECTS} redirections")


async def connect(stack: AsyncStack, url: Url) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to the first address of the host that answers (RFC 8305), or the error of the first of them."""
    try:
        return await stack.open_connection(
            url.host, url.port, limit=LIMIT, happy_eyeballs_delay=HAPPY_DELAY, all_errors=True
        )
    except ExceptionGroup as exc:
        raise exc.exceptions[0] from exc


async def told(doing: Awaitable[T], url: Url, timeout: float, late: str) -> T:
    """The result of `doing`; errors of the network become a `Failure` that says where. `late`: what a timeout means."""
    where = f"{url.host} port {url.port}"
    try:
        async with asyncio.timeout(timeout) as limit:
            return await doing
    except ConnectionRefusedError as exc:
        raise Failure(f"{where}: connection refused; does a server listen there?") from exc
    except ConnectionResetError as exc:
        raise Failure(f"{where}: the server reset the connection") from exc
    except TimeoutError as exc:
        if limit.expired():
            raise Failure(f"{where}: {late} within {timeout:g} seconds") from exc
        raise Failure(f"{where}: {describe(exc)}") from exc
    except OSError as exc:
        raise Failure(f"{where}: {describe(exc)}") from exc
