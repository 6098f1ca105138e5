"""Wireshark's reading of a simulated network's capture."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from tests.sim.test_topology import payload, transfer

from plankroad.sim.topology import Network


def tshark(capture: Path, *arguments: str) -> list[str]:
    command = [
        "tshark",
        "-r",
        str(capture),
        "-o",
        "tcp.check_checksum:TRUE",
        "-o",
        "ip.check_checksum:TRUE",
        *arguments,
    ]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


@pytest.mark.needs("tshark")
@pytest.mark.parametrize("ethernet", [False, True])
def test_no_checksum_is_bad_but_those_of_packets_that_say_they_are_damaged(tmp_path: Path, ethernet: bool) -> None:
    net = Network(12)
    client, router, server = net.host("client"), net.router("router"), net.host("server")
    net.link(client, router, delay="2ms", loss=0.03, duplicate=0.03, reorder=0.03, reorder_delay="3ms")
    # Only towards the host that will find it out: a router passes on what is damaged behind the IP header.
    last = net.link(router, server, rate="100Mbit/s", delay="5ms", ethernet=ethernet)
    last.set(toward=server, corrupt=0.05)
    path = tmp_path / "net.pcapng"
    data = payload(150_000)
    with net.capture(path):
        assert net.run(transfer(server, data), host=client) == data

    assert tshark(path, "-Y", '_ws.malformed && !(frame.comment contains "damaged")') == []
    bad = "(tcp.checksum.status == 0 || ip.checksum.status == 0)"
    assert tshark(path, "-Y", f'{bad} && !(frame.comment contains "damaged")') == []
    found = tshark(path, "-Y", bad, "-T", "fields", "-e", "frame.comment")
    assert len(found) > 3
    assert all(comment.startswith("damaged (bit ") for comment in found)
    names = tshark(path, "-T", "fields", "-e", "frame.interface_name")
    assert set(names) == {"client-router", "router-server"}
    dropped = tshark(path, "-Y", 'frame.comment contains "dropped: random loss"')
    assert len(dropped) == net.counters()["lost_random"] > 0
