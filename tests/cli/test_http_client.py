"""The HTTP client of `plankroad fetch`, in virtual time: against our server, and against servers that misbehave."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.cli.web import Web

from plankroad.cli.errors import Failure
from plankroad.cli.http_client import Download, Url, get

TIMEOUT = 30.0
#: A server's answer: bytes, seconds to wait (int), or "reset".
Script = list[bytes | int | str]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "a b.txt").write_bytes(b"alpha\n")
    (tmp_path / "dir").mkdir()
    return tmp_path


async def numeric(host: str) -> str:
    return host


def fetch(web: Web, url: str) -> tuple[Download, bytes]:
    """The last answer, and its body."""

    async def main() -> tuple[Download, bytes]:
        download = await get(web.client.aio, url, TIMEOUT, numeric)
        body = b"".join([piece async for piece in download.body()])
        await download.close()
        return download, body

    return web.run(main)


def scripted(web: Web, *answers: Script, port: int = 8080) -> Callable[[str], tuple[Download, bytes]]:
    """Serve the answers, one a connection; then `fetch`."""
    waiting = list(answers)
    requests: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(await reader.readuntil(b"\r\n\r\n"))
        for step in waiting.pop(0):
            if isinstance(step, bytes):
                writer.write(step)
            elif isinstance(step, int):
                await asyncio.sleep(step)
            else:
                writer.transport.abort()
        writer.close()

    def run(url: str) -> tuple[Download, bytes]:
        async def serve() -> asyncio.AbstractServer:
            return await asyncio.start_server(handle, "server", port)

        async def main() -> tuple[Download, bytes]:
            server = await web.server.create_task(serve())
            try:
                download = await get(web.client.aio, url, TIMEOUT, numeric)
                body = b"".join([piece async for piece in download.body()])
                await download.close()
                return download, body
            finally:
                server.close()

        return web.run(main)

    return run


def test_a_file_and_its_length(root: Path) -> None:
    data = random.Random(1).randbytes(3_000_000)
    (root / "big").write_bytes(data)
    download, body = fetch(Web(root), "http://server/big")
    assert (download.status, download.length, body) == (200, 3_000_000, data)


def test_characters_that_a_url_cannot_have_are_encoded(root: Path) -> None:
    assert fetch(Web(root), "http://server/a b.txt")[1] == b"alpha\n"
    assert fetch(Web(root), "http://server/a%20b.txt?x=y#part")[1] == b"alpha\n"


def test_an_error_is_an_answer(root: Path) -> None:
    download, body = fetch(Web(root), "http://server/none")
    assert download.status == 404
    assert body.startswith(b"404")


def test_redirections_are_followed(root: Path) -> None:
    assert fetch(Web(root), "http://server/dir")[0].url.target == "/dir/"
    web = Web(root)
    run = scripted(
        web,
        [b"HTTP/1.1 302 Found\r\nLocation: ../other?a=b\r\nContent-Length: 0\r\n\r\n"],
        [b"HTTP/1.1 307 Temporary\r\nLocation: http://server/a%20b.txt\r\nContent-Length: 4\r\n\r\nbody"],
    )
    download, body = run("http://server:8080/x/y")
    assert (download.url.text, body) == ("http://server/a%20b.txt", b"alpha\n")


def test_redirections_without_end_are_given_up(root: Path) -> None:
    again: Script = [b"HTTP/1.1 301 Moved\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n"]
    with pytest.raises(Failure, match="more than 10 redirections"):
        scripted(Web(root), *[again] * 11)("http://server:8080/")
    with pytest.raises(Failure, match="https is not spoken here"):
        scripted(Web(root), [b"HTTP/1.1 301 M\r\nLocation: https://server/\r\n\r\n"])("http://server:8080/")


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (
            [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", 5, b"2;x=y\r\nde\r\n0\r\n\r\n"],
            b"abcde",
        ),
        ([b"HTTP/1.0 200 OK\r\n\r\nuntil ", 1, b"the end"], b"until the end"),
        ([b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"], b"x"),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"], b""),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", 20, b"a", 20, b"b", 20, b"c"], b"abc"),
    ],
)
def test_bodies_of_every_kind(root: Path, answer: Script, body: bytes) -> None:
    assert scripted(Web(root), answer)("http://server:8080/")[1] == body


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"], "not whole.*received 3 bytes, expected 10"),
        ([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"], "not whole"),
        ([b"SSH-2.0-OpenSSH\r\n"], "not HTTP"),
        ([], "closed the connection without an answer"),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", 1, "reset"], "the server reset the connection"),
        ([31], "the server sent nothing within 30 seconds"),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", 31], "the server sent nothing within 30 seconds"),
    ],
)
def test_answers_that_are_none_are_told(root: Path, answer: Script, says: str) -> None:
    with pytest.raises(Failure, match=says) as caught:
        scripted(Web(root), answer)("http://server:8080/file")
    assert "server" in caught.value.message
    assert "\n" not in caught.value.message


def test_a_refused_connection_is_told(root: Path) -> None:
    with pytest.raises(Failure, match=r"^server port 81: connection refused; does a server listen there[?]$"):
        fetch(Web(root), "http://server:81/")


def test_nobody_there_is_told(root: Path) -> None:
    web = Web(root)
    web.net.links[0].cut()
    with pytest.raises(Failure, match=r"^server port 80: no connection within 30 seconds$"):
        fetch(web, "http://server/")


def test_the_request_says_what_it_must(root: Path) -> None:
    seen: list[bytes] = []
    web = Web(root)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        writer.close()

    async def main() -> None:
        async def serve() -> asyncio.AbstractServer:
            return await asyncio.start_server(handle, "server", 8080)

        server = await web.server.create_task(serve())
        await (await get(web.client.aio, "http://server:8080/p?q", TIMEOUT, numeric)).close()
        server.close()

    web.run(main)
    lines = seen[0].decode().split("\r\n")
    assert lines[0] == "GET /p?q HTTP/1.1"
    assert "Host: server:8080" in lines
    assert "Connection: close" in lines


@pytest.mark.parametrize(
    ("text", "authority", "target"),
    [
        ("http://10.0.0.1", "10.0.0.1", "/"),
        ("http://10.0.0.1:8000/a/b?c=d%20e", "10.0.0.1:8000", "/a/b?c=d%20e"),
        ("http://[fd00::1]/", "[fd00::1]", "/"),
        ("http://[fd00::1]:81/", "[fd00::1]:81", "/"),
        ("HTTP://Host/zwölf", "host", "/zw%C3%B6lf"),
        ("http://bücher.example/", "xn--bcher-kva.example", "/"),
        ("http://host?query", "host", "/?query"),
    ],
)
def test_urls(text: str, authority: str, target: str) -> None:
    url = Url(text)
    assert (url.authority(), url.target) == (authority, target)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("10.0.0.1/file", "no http URL"),
        ("http://", "no http URL"),
        ("ftp://host/", "no http URL"),
        ("https://host/", "https is not spoken"),
        ("http://host:99999/", "no URL"),
        ("http://host:x/", "no URL"),
        ("http://[::1/", "no URL"),
        ("http://user:secret@host/", "user name"),
        ("http://" + "ü" * 80 + "/", "no name of a host"),
        ("", "no http URL"),
    ],
)
def test_what_is_no_url_is_told(text: str, says: str) -> None:
    with pytest.raises(Failure, match=says):
        Url(text)
