"""The types and codes of ICMP messages by the names that scripts use (RFC 792, 1122, 1812; RFC 4443 for IPv6)."""

from __future__ import annotations

from typing import Final

#: Names of types by IP version.
TYPES: Final[dict[int, dict[str, int]]] = {
    4: {
        "echo_reply": 0,
        "unreachable": 3,
        "source_quench": 4,
        "redirect": 5,
        "echo_request": 8,
        "time_exceeded": 11,
        "parameter_problem": 12,
        "timestamp_request": 13,
        "timestamp_reply": 14,
        "information_request": 15,
        "information_reply": 16,
        "address_mask_request": 17,
        "address_mask_reply": 18,
    },
    6: {
        "unreachable": 1,
        "packet_too_big": 2,
        "time_exceeded": 3,
        "parameter_problem": 4,
        "echo_request": 128,
        "echo_reply": 129,
    },
}

#: Names of codes by IP version and type.
CODES: Final[dict[tuple[int, int], dict[str, int]]] = {
    (4, 3): {
        "net_unreachable": 0,
        "host_unreachable": 1,
        "protocol_unreachable": 2,
        "port_unreachable": 3,
        "frag_needed": 4,
        "source_route_failed": 5,
        "net_unknown": 6,
        "host_unknown": 7,
        "source_host_isolated": 8,
        "net_prohibited": 9,
        "host_prohibited": 10,
        "net_unreachable_for_tos": 11,
        "host_unreachable_for_tos": 12,
        "packet_filtered": 13,
        "precedence_violation": 14,
        "precedence_cutoff": 15,
    },
    (4, 5): {"net": 0, "host": 1, "net_for_tos": 2, "host_for_tos": 3},
    (4, 11): {"exceeded_ttl": 0, "exceeded_frag_time": 1},
    (4, 12): {"pointer": 0, "missing_option": 1, "bad_length": 2},
    (6, 1): {
        "no_route": 0,
        "net_unreachable": 0,
        "admin_prohibited": 1,
        "not_neighbour": 2,
        "address_unreachable": 3,
        "port_unreachable": 4,
    },
    (6, 3): {"exceeded_hop_limit": 0, "exceeded_frag_time": 1},
    (6, 4): {"header_field": 0, "unknown_next_header": 1, "unknown_option": 2},
}

#: Types that are errors, which quote a packet, by IP version.
ERRORS: Final[dict[int, frozenset[int]]] = {4: frozenset([3, 4, 5, 11, 12]), 6: frozenset([1, 2, 3, 4])}
ECHO: Final[dict[int, frozenset[int]]] = {4: frozenset([0, 8]), 6: frozenset([128, 129])}
FRAGMENTATION_NEEDED: Final = (3, 4)
PACKET_TOO_BIG: Final = 2


def type_number(version: int, name: str) -> int | None:
    """The type `name`, a name or a number in text; None where there is no such type."""
    return _number(TYPES[version], name)


def code_number(version: int, type_: int, name: str | None) -> int | None:
    """The code `name` of a type; 0 where none is given, None where there is no such code."""
    return 0 if name is None else _number(CODES.get((version, type_), {}), name)


def _number(names: dict[str, int], name: str) -> int | None:
    if name in names:
        return names[name]
    return int(name) if name.isdecimal() and name.isascii() and len(name) <= 3 and int(name) <= 255 else None


def type_text(version: int, type_: int, code: int) -> str:
    """`unreachable frag_needed`, as a script writes it; numbers where there are no names."""
    name = next((name for name, number in TYPES[version].items() if number == type_), str(type_))
    codes = CODES.get((version, type_), {})
    code_name = next((word for word, number in codes.items() if number == code), str(code) if code else "")
    return f"{name} {code_name}".rstrip()
