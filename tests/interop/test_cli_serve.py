"""`plankroad serve` on a TUN device, with the kernel's curl as its client."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import pytest
from tests.interop.netns import Namespace, Process

from plankroad.cli.serve import GRACE

pytestmark = [pytest.mark.root, pytest.mark.xdist_group("root"), pytest.mark.needs("curl")]

OURS, OURS6 = "10.9.0.2", "fd09::2"
SERVE = [sys.executable, "-m", "plankroad", "serve"]
PLACE = ["--tun", "plank0", "--address", f"{OURS}/24", "--address", f"{OURS6}/64"]
LIMIT = 30.0


@pytest.fixture
def root(tmp_path: Path) -> Path:
    served = tmp_path / "served"
    served.mkdir()
    (served / "a.txt").write_bytes(b"alpha\n")
    (served / "big").write_bytes(random.Random(1).randbytes(20_000_000))
    return served


@pytest.fixture
def server(ns: Namespace, root: Path) -> Process:
    process = ns.start(*SERVE, str(root), *PLACE)
    process.wait_for(f"'http://[{OURS6}]/'", LIMIT)
    return process


def curl(ns: Namespace, *words: str) -> str:
    return ns.run("curl", "--silent", "--show-error", "--globoff", "--max-time", "20", *words, limit=LIMIT)


def devices(ns: Namespace) -> list[str]:
    return [link["ifname"] for link in json.loads(ns.run("ip", "-json", "link"))]


def test_a_file_arrives_whole_over_both_families(ns: Namespace, server: Process, root: Path, tmp_path: Path) -> None:
    wanted = hashlib.sha256((root / "big").read_bytes()).hexdigest()
    for host in (OURS, f"[{OURS6}]"):
        curl(ns, "-o", str(tmp_path / "got"), f"http://{host}/big")
        assert hashlib.sha256((tmp_path / "got").read_bytes()).hexdigest() == wanted


def test_two_urls_share_a_connection(ns: Namespace, server: Process) -> None:
    said = curl(ns, "-v", f"http://{OURS}/a.txt", f"http://{OURS}/a.txt")
    assert said.count("alpha") == 2
    assert "Re-using existing connection" in said


def test_head_range_and_conditions(ns: Namespace, server: Process, root: Path, tmp_path: Path) -> None:
    head = curl(ns, "--head", f"http://{OURS}/big")
    assert "HTTP/1.1 200 OK" in head
    assert "Content-Length: 20000000" in head
    curl(ns, "-r", "1000-1999,-10", "-o", str(tmp_path / "parts"), f"http://{OURS}/big")
    data = (root / "big").read_bytes()
    parts = (tmp_path / "parts").read_bytes()
    assert data[1000:2000] in parts
    assert data[-10:] in parts
    # What curl does to go on with a broken download.
    (tmp_path / "got").write_bytes(data[:12_345_678])
    curl(ns, "-C", "-", "-o", str(tmp_path / "got"), f"http://{OURS}/big")
    assert (tmp_path / "got").read_bytes() == data
    os.utime(root / "a.txt", (1, 1))
    said = curl(ns, "-i", "-z", "Sun, 06 Nov 1994 08:49:37 GMT", f"http://{OURS}/a.txt")
    assert "304 Not Modified" in said


def test_listing_and_errors(ns: Namespace, server: Process) -> None:
    page = curl(ns, f"http://{OURS}/")
    assert '<a href="a.txt">a.txt</a>' in page
    status = ["-o", "/dev/null", "-w", "%{http_code}"]
    assert curl(ns, *status, f"http://{OURS}/none") == "404"
    assert curl(ns, *status, "--path-as-is", f"http://{OURS}/../../etc/passwd") == "404"
    assert curl(ns, *status, "-X", "DELETE", f"http://{OURS}/a.txt") == "405"
    assert curl(ns, *status, "-d", "form", f"http://{OURS}/a.txt") == "405"


def test_many_connections_at_once(ns: Namespace, server: Process, tmp_path: Path) -> None:
    config = "".join(f'url = "http://{OURS}/a.txt"\noutput = "{tmp_path}/{i}"\n' for i in range(100))
    (tmp_path / "config").write_text(config)
    curl(ns, "--parallel", "--parallel-immediate", "--parallel-max", "100", "-K", str(tmp_path / "config"))
    assert all((tmp_path / str(i)).read_bytes() == b"alpha\n" for i in range(100))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_closes_connections_in_order_and_removes_the_device(
    ns: Namespace, server: Process, number: int
) -> None:
    with ns.socket() as client:
        client.connect((OURS, 80))
        client.sendall(b"GET /a.txt HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = b""
        while not answer.endswith(b"alpha\n"):
            answer += client.recv(65536)
        assert "plank0" in devices(ns)
        server.signal(number)
        assert client.recv(65536) == b""  # FIN, not RST
    assert server.wait(LIMIT) == 0
    assert "Traceback" not in server.output
    assert server.output.count('"GET /a.txt HTTP/1.1" 200 6 ') == 1
    assert "plank0" not in devices(ns)


def test_a_reply_under_way_is_finished_after_ctrl_c(ns: Namespace, server: Process, root: Path) -> None:
    data = (root / "big").read_bytes()
    with ns.socket() as client:
        client.connect((OURS, 80))
        client.sendall(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = client.recv(1000)
        server.signal(signal.SIGINT)
        server.wait_for("Closing.", LIMIT)
        while piece := client.recv(1 << 20):
            answer += piece
    assert answer.partition(b"\r\n\r\n")[2] == data
    assert server.wait(LIMIT) == 0


def test_a_second_ctrl_c_does_not_wait_for_a_client_that_stands_still(ns: Namespace, server: Process) -> None:
    with ns.socket() as client:
        client.connect((OURS, 80))
        client.sendall(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n" * 10)
        client.recv(1000)
        server.signal(signal.SIGINT)
        server.wait_for("Closing.", LIMIT)
        begin = time.monotonic()
        server.signal(signal.SIGINT)
        assert server.wait(LIMIT) == 130
        assert time.monotonic() - begin < GRACE
    assert "Traceback" not in server.output
    assert "plank0" not in devices(ns)


def test_a_client_that_stands_still_is_reset_after_the_grace(ns: Namespace, server: Process) -> None:
    with ns.socket() as client:
        client.connect((OURS, 80))
        client.sendall(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n" * 10)
        client.recv(1000)
        server.signal(signal.SIGINT)
        assert server.wait(LIMIT) == 0
    assert "Traceback" not in server.output
    assert "plank0" not in devices(ns)


def test_without_the_rights_it_is_one_line_that_says_what_to_do(ns: Namespace, root: Path) -> None:
    said = ns.run("setpriv", "--bounding-set=-net_admin", *SERVE, str(root), *PLACE, check=False, limit=LIMIT)
    assert said.count("\n") == 1
    assert said.startswith("Error: ")
    assert "needs root or CAP_NET_ADMIN" in said
    assert "ip tuntap add dev plank0 mode tun" in said


def test_a_device_in_use_is_one_line(ns: Namespace, server: Process, root: Path) -> None:
    said = ns.run(*SERVE, str(root), *PLACE, check=False, limit=LIMIT)
    assert said == "Error: plank0: the device is in use by another process\n"


def test_a_device_that_was_there_stays(ns: Namespace, root: Path) -> None:
    ns.run("ip", "tuntap", "add", "dev", "plank0", "mode", "tun")
    ns.run("ip", "address", "add", "10.9.0.1/24", "dev", "plank0")
    ns.run("ip", "link", "set", "plank0", "up")
    process = ns.start(*SERVE, str(root), "--tun", "plank0", "--address", f"{OURS}/24", "--port", "8080", "--quiet")
    process.wait_for(f"curl http://{OURS}:8080/", LIMIT)
    assert curl(ns, f"http://{OURS}:8080/a.txt") == "alpha\n"
    process.signal(signal.SIGINT)
    assert process.wait(LIMIT) == 0
    assert "GET" not in process.output
    assert "plank0" in devices(ns)
