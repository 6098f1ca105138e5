"""200 MB each way by curl: down from `plankroad serve`, and up to an HTTP server on plankroad, with SHA-256 equal."""

from __future__ import annotations

import asyncio
import hashlib
import random
import sys
from pathlib import Path

import pytest
from tests.interop.netns import Namespace

from plankroad.aio.open import open_link

pytestmark = [
    pytest.mark.root,
    pytest.mark.xdist_group("root"),
    pytest.mark.needs("curl"),
    pytest.mark.slow,
]

SIZE = 200_000_000
OURS, OURS6, KERNEL, KERNEL6 = "10.9.0.2", "fd09::2", "10.9.0.1", "fd09::1"
LIMIT = 120.0


@pytest.fixture
def big(tmp_path: Path) -> tuple[Path, str]:
    """A directory with a file of `SIZE` bytes called big, and their SHA-256."""
    digest = hashlib.sha256()
    rng = random.Random(1)
    served = tmp_path / "served"
    served.mkdir()
    with (served / "big").open("wb") as file:
        for _ in range(SIZE // 1_000_000):
            piece = rng.randbytes(1_000_000)
            digest.update(piece)
            file.write(piece)
    return served, digest.hexdigest()


@pytest.mark.parametrize("host", [OURS, f"[{OURS6}]"], ids=["ipv4", "ipv6"])
def test_curl_downloads_from_plankroad_serve(ns: Namespace, big: tuple[Path, str], tmp_path: Path, host: str) -> None:
    served, expected = big
    place = ["--tun", "plank0", "--address", f"{OURS}/24", "--address", f"{OURS6}/64"]
    server = ns.start(sys.executable, "-m", "plankroad", "serve", str(served), *place)
    server.wait_for(f"'http://[{OURS6}]/'", LIMIT)
    got = tmp_path / "got"
    ns.run("curl", "--silent", "--show-error", "--globoff", "-o", str(got), f"http://{host}/big", limit=LIMIT)
    with got.open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == expected


@pytest.mark.parametrize("host", [OURS, f"[{OURS6}]"], ids=["ipv4", "ipv6"])
def test_curl_uploads_to_a_server_on_plankroad(ns: Namespace, big: tuple[Path, str], host: str) -> None:
    served, expected = big
    digest = hashlib.sha256()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        left = int(head.split("content-length:")[1].split()[0])
        if "expect: 100-continue" in head:
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        while left:
            piece = await reader.read(min(left, 1 << 18))
            assert piece, "the upload ended early"
            digest.update(piece)
            left -= len(piece)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\ndone\n")
        await writer.drain()
        writer.close()

    async def main() -> str:
        link = ns.open_tun(kernel_address=[f"{KERNEL}/24", f"{KERNEL6}/64"])
        async with open_link(link, address=[f"{OURS}/24", f"{OURS6}/64"]) as stack:
            await stack.start_server(serve, None, 80)
            words = ["curl", "--silent", "--show-error", "--globoff", "-T", str(served / "big"), f"http://{host}/"]
            return await asyncio.to_thread(ns.run, *words, limit=LIMIT)

    assert asyncio.run(main()) == "done\n"
    assert digest.hexdigest() == expected
