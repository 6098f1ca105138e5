"""`plankroad fetch`, `ping` and `trace` on a TUN device, with the kernel at the other end."""

from __future__ import annotations

import hashlib
import json
import random
import signal
import sys
from pathlib import Path

import pytest
from tests.interop.netns import Namespace, Process

pytestmark = [pytest.mark.root, pytest.mark.xdist_group("root")]

PLANKROAD = [sys.executable, "-m", "plankroad"]
#: The kernel's addresses on the device, where nothing else is said.
KERNEL, KERNEL6 = "10.97.0.1", "fd00:97::1"
LIMIT = 30.0


def plankroad(ns: Namespace, *words: str, status: int = 0) -> str:
    """Run a command; its output, with standard error."""
    process = ns.start(*PLANKROAD, *words)
    assert process.wait(LIMIT) == status, process.output
    assert "Traceback" not in process.output
    return process.output


def web_server(ns: Namespace, directory: Path) -> Process:
    """Python's own, on all addresses of both families, port 8000."""
    process = ns.start(
        sys.executable, "-u", "-m", "http.server", "8000", "--bind", "::", "--directory", str(directory)
    )
    process.wait_for("Serving HTTP")
    return process


def devices(ns: Namespace) -> list[str]:
    return [link["ifname"] for link in json.loads(ns.run("ip", "-json", "link"))]


@pytest.mark.parametrize("host", [KERNEL, f"[{KERNEL6}]"])
def test_a_file_is_fetched_whole(ns: Namespace, tmp_path: Path, host: str) -> None:
    data = random.Random(1).randbytes(20_000_000)
    (tmp_path / "big").write_bytes(data)
    web_server(ns, tmp_path)
    said = plankroad(ns, "fetch", f"http://{host}:8000/big", "-o", str(tmp_path / "got"))
    assert (tmp_path / "got").read_bytes() == data
    assert said.startswith("20,000,000 bytes in ")
    assert hashlib.sha256(data).hexdigest() in said
    assert devices(ns) == ["lo"]


def test_standard_output_and_a_redirection(ns: Namespace, tmp_path: Path) -> None:
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir" / "index.html").write_text("<h1>here</h1>\n")
    web_server(ns, tmp_path)
    said = plankroad(ns, "fetch", f"http://{KERNEL}:8000/dir", "-o", "-")
    assert said.startswith("<h1>here</h1>\n")


def test_errors_of_fetch_are_one_line(ns: Namespace, tmp_path: Path) -> None:
    web_server(ns, tmp_path)
    output = str(tmp_path / "got")
    for url, says in (
        (f"http://{KERNEL}:8000/none", "the server answered 404 File not found"),
        (f"http://{KERNEL}:8001/", f"{KERNEL} port 8001: connection refused"),
        ("http://10.97.0.77/", "10.97.0.77 port 80: no connection within 0.5 seconds"),
        ("http://localhost:8000/", f"this machine is {KERNEL} or {KERNEL6}"),
        ("http://no-such-name.invalid/", "no-such-name.invalid: "),
    ):
        said = plankroad(ns, "fetch", url, "-o", output, "--timeout", "0.5", status=1)
        assert said.startswith("Error: ")
        assert says in said
        assert said.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_ctrl_c_ends_a_fetch_and_leaves_nothing(ns: Namespace, tmp_path: Path) -> None:
    listening = ns.socket()
    listening.bind(("0.0.0.0", 8000))
    listening.listen()
    process = ns.start(*PLANKROAD, "fetch", f"http://{KERNEL}:8000/x", "-o", str(tmp_path / "got"))
    accepted, _ = listening.accept()
    with accepted:
        accepted.settimeout(LIMIT)
        assert accepted.recv(65536).startswith(b"GET /x ")
        accepted.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        process.signal(signal.SIGINT)
        assert process.wait(LIMIT) == 130
    assert "Traceback" not in process.output
    assert not list(tmp_path.iterdir())
    assert devices(ns) == ["lo"]


@pytest.mark.parametrize("host", [KERNEL, KERNEL6])
def test_the_kernel_answers_pings(ns: Namespace, host: str) -> None:
    said = plankroad(ns, "ping", host, "-c", "3", "-i", "0", "-s", "2000")
    assert said.startswith(f"PING {host} ({host}) 2000 data bytes\n")
    assert said.count(f"2008 bytes from {host}: seq=") == 3
    assert "3 packets transmitted, 3 received, 0% packet loss" in said
    assert "rtt min/avg/max/mdev = " in said


def test_nobody_answers(ns: Namespace) -> None:
    said = plankroad(ns, "ping", "10.97.0.77", "-c", "2", "-i", "0", "-W", "0.1", status=1)
    assert "no answer to seq=2" in said
    assert "2 packets transmitted, 0 received, 100% packet loss" in said


def test_ctrl_c_ends_ping_with_its_statistics(ns: Namespace) -> None:
    process = ns.start(*PLANKROAD, "ping", KERNEL, "-i", "0.05")
    process.wait_for("seq=2")
    process.signal(signal.SIGINT)
    assert process.wait(LIMIT) == 130
    assert "0% packet loss" in process.output
    assert "Traceback" not in process.output
    assert devices(ns) == ["lo"]


def test_sigterm_removes_the_device(ns: Namespace) -> None:
    process = ns.start(*PLANKROAD, "ping", KERNEL, "-i", "0.05")
    process.wait_for("seq=2")
    process.signal(signal.SIGTERM)
    assert process.wait(LIMIT) == 128 + signal.SIGTERM
    assert "Traceback" not in process.output
    assert devices(ns) == ["lo"]


def test_the_way_to_the_kernel_is_one_hop(ns: Namespace) -> None:
    said = plankroad(ns, "trace", KERNEL, "-q", "2")
    assert f"\n  1  {KERNEL}  " in said
    assert said.count(" ms") == 2
