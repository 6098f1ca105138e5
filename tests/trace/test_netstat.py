"""Counters as text and dict."""

from __future__ import annotations

from plankroad.trace.netstat import add, collect, difference, format_counters


class Tcp:
    def __init__(self) -> None:
        self.segments_received = 1204
        self.bad_checksum = 3
        self.timeouts = 0

    def as_dict(self) -> dict[str, int]:
        return {
            "segments_received": self.segments_received,
            "bad_checksum": self.bad_checksum,
            "timeouts": self.timeouts,
        }


class Ip:
    def as_dict(self) -> dict[str, int]:
        return {"forwarded": 0}


def test_text_names_causes_sets_numbers_in_one_column_and_leaves_zeros_out() -> None:
    assert format_counters(collect({"tcp": Tcp(), "ip": Ip()})) == (
        "Tcp:\n    1,204 segments received\n        3 bad checksum\nIp:\n    nothing"
    )


def test_zeros_on_request() -> None:
    text = format_counters({"ICMPv6": {"echo_requests": 0}, "udp": {}}, zeros=True)
    assert text == "ICMPv6:\n    0 echo requests\nUdp:\n    nothing"


def test_collect_is_a_copy_and_difference_tells_what_happened_between() -> None:
    tcp = Tcp()
    before = collect({"tcp": tcp})
    tcp.timeouts = 2
    tcp.segments_received += 6
    after = collect({"tcp": tcp, "ip": Ip()})
    assert before["tcp"]["timeouts"] == 0
    assert difference(before, after) == {
        "tcp": {"segments_received": 6, "bad_checksum": 0, "timeouts": 2},
        "ip": {"forwarded": 0},
    }


def test_add_sums_several_stacks() -> None:
    total: dict[str, dict[str, int]] = {}
    add(total, {"tcp": {"a": 1}})
    add(total, {"tcp": {"a": 2, "b": 5}, "ip": {"c": 1}})
    assert total == {"tcp": {"a": 3, "b": 5}, "ip": {"c": 1}}
