"""The HTTP server on connections: keep-alive, pipelining, time limits, bad requests, the end. In virtual time."""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path

import pytest
from tests.cli.web import Web, get, parse

from plankroad.cli.http import CHUNK, MAX_BODY, MAX_HEAD, Limits


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "a.txt").write_bytes(b"alpha\n")
    (tmp_path / "b.txt").write_bytes(b"beta\n")
    (tmp_path / "dir").mkdir()
    return tmp_path


async def drained(reader: asyncio.StreamReader) -> int:
    """Read to the end; how much there was."""
    count = 0
    while piece := await reader.read(1 << 20):
        count += len(piece)
    return count


def test_get_and_its_log_line(root: Path) -> None:
    web = Web(root)
    (answer,) = web.ask(get("/a.txt"))
    assert (answer.status, answer.body) == (200, b"alpha\n")
    assert answer.header("Content-Length") == "6"
    assert answer.header("Server").startswith("plankroad/")
    assert answer.header("Date").endswith(" GMT")
    (line,) = web.log
    assert '"GET /a.txt HTTP/1.1" 200 6 ' in line
    assert line.startswith(web.client.address + " - - [")


def test_head_has_the_fields_and_no_body(root: Path) -> None:
    web = Web(root)
    raw = web.run(lambda: web.say(get("/a.txt", method="HEAD")))
    head, _, body = raw.partition(b"\r\n\r\n")
    assert b"Content-Length: 6" in head
    assert body == b""
    assert '"HEAD /a.txt HTTP/1.1" 200 0 ' in web.log[0]


def test_keep_alive_answers_one_request_after_the_other(root: Path) -> None:
    web = Web(root)

    async def main() -> bytes:
        reader, writer = await web.open()
        taken = b""
        for path in ("/a.txt", "/none", "/b.txt"):
            writer.write(get(path, close=False))
            taken += await reader.readuntil(b"\r\n\r\n")
            taken += await reader.readuntil(b"\n")
        writer.close()
        await writer.wait_closed()
        return taken

    answers = parse(web.run(main))
    assert [answer.status for answer in answers] == [200, 404, 200]
    assert answers[2].body == b"beta\n"
    assert len(web.log) == 3


def test_pipelined_requests_are_answered_in_order(root: Path) -> None:
    paths = [f"/{name}.txt" for name in "abbabaab"]
    requests = b"".join(get(path, close=i == len(paths) - 1) for i, path in enumerate(paths))
    for pieces in ([requests], [requests[i : i + 7] for i in range(0, len(requests), 7)]):
        answers = Web(root).ask(*pieces, pause=0.01)
        assert [answer.body for answer in answers] == [(root / path[1:]).read_bytes() for path in paths]


def test_what_is_sent_ahead_waits_in_the_connection_not_in_memory(root: Path) -> None:
    (root / "big").write_bytes(bytes(3_000_000))
    web = Web(root)

    async def main() -> tuple[int, int]:
        _, writer = await web.open()
        for _ in range(400):
            writer.write(get("/big", close=False) * 100)
        # Nobody reads: the server stops at its first replies, and takes no more requests than its buffers hold.
        await asyncio.sleep(10)
        client = next(iter(web.files._clients.values()))
        most = len(client.h11.trailing_data[0]) + len(client.reader._buffer)  # type: ignore[attr-defined]
        answered = len(web.log)
        writer.transport.abort()
        await asyncio.sleep(1)
        return most, answered

    most, answered = web.run(main)
    assert most < 512 * 1024
    assert answered < 10


def test_http_1_0_is_answered_and_closed(root: Path) -> None:
    (answer,) = Web(root).ask(b"GET /a.txt HTTP/1.0\r\n\r\n")
    assert (answer.status, answer.body) == (200, b"alpha\n")


def test_large_files_are_streamed_under_back_pressure(root: Path) -> None:
    data = random.Random(2).randbytes(16 * CHUNK + 17)
    (root / "big").write_bytes(data)
    web = Web(root)
    sizes: list[int] = []

    async def main() -> bytes:
        reader, writer = await web.open()
        writer.write(get("/big"))
        taken = bytearray()
        while piece := await reader.read(200_000):
            taken += piece
            await asyncio.sleep(0.05)  # slower than the network
            for client in web.files._clients.values():
                sizes.append(client.writer.transport.get_write_buffer_size())
        writer.close()
        return bytes(taken)

    (answer,) = parse(web.run(main))
    assert answer.body == data
    # One chunk waits at most, and what had been left of the one before.
    assert 0 < max(sizes) <= CHUNK + 64 * 1024


def test_a_client_that_reads_slowly_is_served_and_one_that_stands_still_is_not(root: Path) -> None:
    # More than all buffers on the way hold.
    (root / "big").write_bytes(bytes(12_000_000))
    web = Web(root, Limits(stall=30))

    async def main() -> tuple[int, float]:
        slow, writer = await asyncio.open_connection("server", 80, limit=65536)
        writer.write(get("/big"))
        still, idle_writer = await asyncio.open_connection("server", 80, limit=65536)
        idle_writer.write(get("/big"))
        count = 0
        begin = web.now
        while piece := await slow.read(500_000):
            count += len(piece)
            await asyncio.sleep(5)
        took = web.now - begin
        writer.close()
        with pytest.raises(ConnectionResetError):
            await drained(still)
        return count, took

    count, took = web.run(main)
    assert count > 12_000_000
    assert took > 200


def test_an_idle_connection_is_closed_in_order(root: Path) -> None:
    web = Web(root, Limits(idle=60))
    answers = web.ask(get("/a.txt", close=False))
    assert [answer.status for answer in answers] == [200]
    assert 60 < web.now < 70


def test_a_head_that_comes_too_slowly_is_408(root: Path) -> None:
    web = Web(root, Limits(idle=60, head=20))
    drops = [bytes([byte]) for byte in get("/a.txt")[:21]]
    (answer,) = web.ask(*drops, pause=1.0)
    assert answer.status == 408
    assert answer.header("Connection") == "close"


def test_a_connection_that_says_nothing_is_closed_without_a_word(root: Path) -> None:
    web = Web(root, Limits(idle=60))
    assert web.run(web.say) == b""
    assert web.log == []


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET /a.txt HTTP/1.1\r\n\r\n", 400),  # RFC 9112 section 3.2: no Host
        (b"GET /a.txt HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET /a.txt HTTP/1.1\r\nHost: a\r\nbad field\r\n\r\n", 400),
        (b"GET /a.txt HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", 400),
        (b"GET /a.txt HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"GET /" + b"a" * (2 * MAX_HEAD) + b" HTTP/1.1\r\n", 431),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100), 400),  # TLS
        (get("/a.txt", method="POST"), 405),
        (get("/a.txt", method="BREW"), 501),
        (get("*", method="OPTIONS"), 405),
        (get("a.txt"), 400),
    ],
)
def test_bad_requests_have_their_status_and_then_the_connection_ends(
    root: Path, request_: bytes, status: int
) -> None:
    answers = Web(root).ask(request_)
    assert [answer.status for answer in answers] == [status]
    assert answers[0].body.startswith(b"%d " % status)


def test_a_bad_request_is_answered_in_words_and_not_as_python_shows_it(root: Path) -> None:
    (answer,) = Web(root).ask(b"nonsense\r\n\r\n")
    assert answer.body == b"400 Bad Request: illegal request line\n"


def test_405_names_what_is_allowed(root: Path) -> None:
    (answer,) = Web(root).ask(get("/a.txt", method="DELETE"))
    assert answer.header("Allow") == "GET, HEAD"


def test_a_whole_url_as_target_is_its_path(root: Path) -> None:
    (answer,) = Web(root).ask(get("http://server/a.txt"))
    assert answer.body == b"alpha\n"


def test_a_body_that_nobody_wants_is_read_and_the_connection_kept(root: Path) -> None:
    body = b"x" * 100_000
    first = get("/a.txt", f"Content-Length: {len(body)}", close=False) + body
    second = get("/a.txt", "Transfer-Encoding: chunked", close=False) + b"5\r\nhello\r\n0\r\n\r\n"
    answers = Web(root).ask(first, second, get("/b.txt"), pause=0.1)
    assert [answer.body for answer in answers] == [b"alpha\n", b"alpha\n", b"beta\n"]


def test_a_body_that_is_too_large_ends_the_connection_after_the_reply(root: Path) -> None:
    size = 4 * MAX_BODY
    request = get("/a.txt", f"Content-Length: {size}", close=False)
    web = Web(root)

    async def main() -> bytes:
        reader, writer = await web.open()
        writer.write(request)
        taken = await reader.readexactly(50)
        for _ in range(30):
            writer.write(bytes(MAX_BODY // 10))
        return taken + await reader.read()

    (answer,) = parse(web.run(main))
    assert answer.body == b"alpha\n"


def test_a_client_that_waits_for_100_continue_gets_the_final_answer(root: Path) -> None:
    request = get("/a.txt", "Content-Length: 5", "Expect: 100-continue", close=False)
    (answer,) = Web(root).ask(request)
    assert (answer.status, answer.body) == (200, b"alpha\n")
    assert answer.header("Connection") == "close"


def test_a_client_that_goes_away_in_the_midst_is_no_trouble(root: Path) -> None:
    (root / "big").write_bytes(bytes(10 * CHUNK))
    web = Web(root)

    async def main() -> bytes:
        reader, writer = await web.open()
        writer.write(get("/big"))
        await reader.read(100_000)
        writer.transport.abort()
        reader, writer = await web.open()
        writer.write(b"GET /a.t")
        writer.transport.abort()
        return await web.say(get("/a.txt"))

    assert web.run(main).endswith(b"alpha\n")
    assert not web.files._clients


def test_a_client_that_closes_its_half_gets_its_answer(root: Path) -> None:
    web = Web(root)

    async def main() -> bytes:
        reader, writer = await web.open()
        writer.write(get("/a.txt", close=False))
        writer.write_eof()
        return await reader.read()

    assert web.run(main).endswith(b"alpha\n")


def test_a_file_that_shrinks_while_it_is_sent_breaks_the_connection(root: Path) -> None:
    (root / "big").write_bytes(bytes(20 * CHUNK))
    web = Web(root)

    async def main() -> int:
        reader, writer = await web.open()
        writer.write(get("/big"))
        taken = len(await reader.read(100_000))
        os.truncate(root / "big", CHUNK)
        with pytest.raises(ConnectionResetError):
            taken += await drained(reader)
        return taken

    assert 0 < web.run(main) < 20 * CHUNK


def test_too_many_connections_are_told(root: Path) -> None:
    web = Web(root, Limits(connections=2, idle=5))

    async def main() -> bytes:
        kept = [await web.open(), await web.open()]
        refused = await web.say()
        for _, writer in kept:
            writer.close()
        await asyncio.sleep(5)
        return refused + await web.say(get("/a.txt"))

    answers = parse(web.run(main))
    assert [answer.status for answer in answers] == [503, 200]
    assert answers[0].header("Retry-After") == "1"


def test_stop_closes_idle_connections_and_finishes_replies(root: Path) -> None:
    data = random.Random(4).randbytes(8 * CHUNK)
    (root / "big").write_bytes(data)
    web = Web(root)

    async def main() -> tuple[bytes, bytes]:
        idle, idle_writer = await web.open()
        idle_writer.write(get("/a.txt", close=False))
        await idle.readuntil(b"alpha\n")
        busy, busy_writer = await web.open()
        busy_writer.write(get("/big", close=False))
        await busy.readuntil(b"\r\n\r\n")
        begin = web.now
        stopping = asyncio.ensure_future(web.files.stop(30))
        rest = await idle.read()
        assert web.now - begin < 1
        whole = await busy.read()
        assert await stopping == 0
        idle_writer.close()
        busy_writer.close()
        return rest, whole

    rest, whole = web.run(main)
    assert rest == b""
    assert whole == data


def test_stop_resets_what_takes_longer_than_the_grace(root: Path) -> None:
    (root / "big").write_bytes(bytes(30 * CHUNK))
    web = Web(root)

    async def main() -> int:
        reader, writer = await web.open()
        writer.write(get("/big"))
        await reader.readuntil(b"\r\n\r\n")
        begin = web.now
        late = await web.files.stop(3)
        assert 3 <= web.now - begin < 4
        with pytest.raises(ConnectionResetError):
            await drained(reader)
        return late

    assert web.run(main) == 1
