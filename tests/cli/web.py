"""A file server in a simulated network, and a client that says to it what it likes. All in virtual time."""

from __future__ import annotations

import asyncio
import http.client
import io
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

from plankroad.cli.http import FileServer, Limits
from plankroad.cli.http_tree import Tree
from plankroad.sim.topology import Network

T = TypeVar("T")


class Web:
    """`files` serves on host "server", port 80; `log` is its access log, `now` the virtual time in seconds."""

    def __init__(self, root: Path, limits: Limits | None = None) -> None:
        self.net = Network(seed=1)
        self.client, self.server = self.net.host("client"), self.net.host("server")
        self.net.link(self.client, self.server, delay="1ms")
        self.log: list[str] = []
        self.files = FileServer(Tree(str(root)), self.log.append, limits)

    @property
    def now(self) -> float:
        return self.net.now

    def run(self, main: Callable[[], Awaitable[T]]) -> T:
        """Run `main` on the client while the server serves; then stop that, with nothing left over."""

        async def serve() -> asyncio.AbstractServer:
            return await asyncio.start_server(self.files.handle, "server", 80)

        async def story() -> T:
            server = await self.server.create_task(serve())
            result = await main()
            server.close()
            assert await self.files.stop(5) == 0
            return result

        return self.net.run(story(), host=self.client)

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection."""
        return await asyncio.open_connection("server", 80)

    async def say(self, *pieces: bytes, pause: float = 0.0) -> bytes:
        """Send the pieces, with `pause` seconds before each but the first; all that comes until the server closes."""
        reader, writer = await self.open()
        for i, piece in enumerate(pieces):
            if i:
                await asyncio.sleep(pause)
            writer.write(piece)
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return answer

    def ask(self, *pieces: bytes, methods: str = "GET", pause: float = 0.0) -> list[Answer]:
        """`say` as a run of its own; the answers, to requests with these methods."""
        return parse(self.run(lambda: self.say(*pieces, pause=pause)), methods)


class Answer:
    """A response: `status`, fields by `header`, `body`."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.header: Callable[..., Any] = response.getheader
        self.headers = {name.lower() for name, _ in response.getheaders()}
        self.body = response.read()


class _Stays(io.BytesIO):
    """Reading one response to its end does not close what follows."""

    def close(self) -> None:
        pass


class _Socket:
    def __init__(self, data: bytes) -> None:
        self.file = _Stays(data)

    def makefile(self, *_: object) -> io.BytesIO:
        return self.file


def parse(data: bytes, methods: str = "GET") -> list[Answer]:
    """The responses in `data`; `methods`: of the requests, the last one repeated."""
    source = _Socket(data)
    names = methods.split()
    found: list[Answer] = []
    while source.file.tell() < len(data):
        method = names[min(len(found), len(names) - 1)]
        response = http.client.HTTPResponse(source, method=method)  # type: ignore[arg-type]
        response.begin()
        found.append(Answer(response))
    return found


def get(path: str, *fields: str, method: str = "GET", close: bool = True) -> bytes:
    """A request."""
    lines = [f"{method} {path} HTTP/1.1", "Host: server", *fields]
    if close:
        lines.append("Connection: close")
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode("latin-1")
