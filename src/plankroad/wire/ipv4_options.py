"""IPv4 options (RFC 791 section 3.1): take apart, build, reverse a source route, fill in on the way.

Options go about as the raw bytes behind the fixed header (`Ipv4Header.options`). An offset counts from their start,
so the pointer of a Parameter Problem is 20 more.
"""

from __future__ import annotations

from typing import Final

from plankroad.wire.errors import BadPacket

# Option types: copied flag, class and number in one byte.
IPOPT_EOL: Final = 0
IPOPT_NOP: Final = 1
IPOPT_RECORD_ROUTE: Final = 7
IPOPT_TIMESTAMP: Final = 68
IPOPT_SECURITY: Final = 130
IPOPT_LSRR: Final = 131
IPOPT_STREAM_ID: Final = 136
IPOPT_SSRR: Final = 137
IPOPT_ROUTER_ALERT: Final = 148

#: "1" in the top bit: the option is to be in every fragment.
IPOPT_COPIED: Final = 0x80

#: What the timestamp option's flag may be (RFC 791).
TIMESTAMP_ONLY: Final = 0
TIMESTAMP_AND_ADDRESS: Final = 1
TIMESTAMP_PRESPECIFIED: Final = 3

#: Bytes of options that a header can hold.
MAX_OPTIONS: Final = 40


class Ipv4Option:
    """One option but EOL and NOP: its type, the offset of its type byte, and what follows its length byte."""

    __slots__ = ("data", "kind", "offset")

    def __init__(self, kind: int, offset: int, data: bytes) -> None:
        self.kind = kind
        self.offset = offset
        self.data = data


class RouteOption:
    """Record route, loose or strict source route.

    `route` are all slots. `pointer` is as on the wire: 4 is the first slot; greater than the option's length, the
    route is complete. `offset` is where the option begins among the options.
    """

    __slots__ = ("kind", "offset", "pointer", "route")

    def __init__(self, kind: int, pointer: int, route: list[bytes], offset: int = 0) -> None:
        self.kind = kind
        self.pointer = pointer
        self.route = route
        self.offset = offset

    def completed(self) -> bool:
        """No slot is left: of a source route, that the datagram is where it was to go (RFC 1122 section 3.2.1.8)."""
        return self.pointer > 3 + 4 * len(self.route)

    def recorded(self) -> list[bytes]:
        """The slots before the pointer: where the datagram has been."""
        return self.route[: (self.pointer - 4) // 4]


class TimestampOption:
    """The Internet timestamp option.

    `entries` are all slots, (address, timestamp); the address is empty where `flag` is `TIMESTAMP_ONLY`. A timestamp
    is milliseconds since midnight UT, or anything with its top bit set. `pointer` is as on the wire: 5 is the first
    slot.
    """

    __slots__ = ("entries", "flag", "offset", "overflow", "pointer")

    def __init__(
        self, flag: int, pointer: int, overflow: int, entries: list[tuple[bytes, int]], offset: int = 0
    ) -> None:
        self.flag = flag
        self.pointer = pointer
        self.overflow = overflow
        self.entries = entries
        self.offset = offset

    def recorded(self) -> list[tuple[bytes, int]]:
        """The slots before the pointer."""
        size = 4 if self.flag == TIMESTAMP_ONLY else 8
        return self.entries[: (self.pointer - 5) // size]


def find_option_error(options: bytes) -> int:
    """Offset of the first byte that is wrong, -1 where all is well. It belongs in a Parameter Problem (plus 20).

    Wrong are: a length that is illegal or does not fit its option, a pointer below the smallest legal one or between
    two slots, a timestamp flag that does not exist, and a second source route (RFC 1812 section 5.2.4.1). Unknown
    options are right (RFC 1122 section 3.2.1.8).
    """
    i = 0
    end = len(options)
    routed = False
    while i < end:
        kind = options[i]
        if kind == IPOPT_EOL:
            return -1
        if kind == IPOPT_NOP:
            i += 1
            continue
        # RFC 1122 section 3.2.1.8: "The IP layer must not crash as the result of an option length that is outside the
        # possible range."
        if i + 1 >= end:
            return i
        length = options[i + 1]
        if length < 2 or i + length > end:
            return i + 1
        if kind in (IPOPT_RECORD_ROUTE, IPOPT_LSRR, IPOPT_SSRR):
            if kind != IPOPT_RECORD_ROUTE:
                if routed:
                    return i
                routed = True
            if length < 3 or length & 3 != 3:
                return i + 1
            pointer = options[i + 2]
            if pointer < 4 or (pointer <= length and pointer & 3 != 0):
                return i + 2
        elif kind == IPOPT_TIMESTAMP:
            if length < 4:
                return i + 1
            pointer = options[i + 2]
            flag = options[i + 3] & 15
            if flag not in (TIMESTAMP_ONLY, TIMESTAMP_AND_ADDRESS, TIMESTAMP_PRESPECIFIED):
                return i + 3
            size = 4 if flag == TIMESTAMP_ONLY else 8
            if (length - 4) % size:
                return i + 1
            if pointer < 5 or (pointer <= length and (pointer - 5) % size):
                return i + 2
        elif kind == IPOPT_ROUTER_ALERT and length != 4:
            return i + 1
        i += length
    return -1


def parse_options(options: bytes) -> list[Ipv4Option]:
    """The options in their order, without EOL and NOP. Raises BadPacket where `find_option_error` finds one."""
    error = find_option_error(options)
    if error >= 0:
        raise BadPacket(f"IPv4 option is wrong at byte {error}")
    found: list[Ipv4Option] = []
    i = 0
    while i < len(options):
        kind = options[i]
        if kind == IPOPT_EOL:
            break
        if kind == IPOPT_NOP:
            i += 1
            continue
        length = options[i + 1]
        found.append(Ipv4Option(kind, i, options[i + 2 : i + length]))
        i += length
    return found


def parse_route(option: Ipv4Option) -> RouteOption:
    """A record route or source route option taken apart. Raises BadPacket for another kind or a wrong inside."""
    if option.kind not in (IPOPT_RECORD_ROUTE, IPOPT_LSRR, IPOPT_SSRR):
        raise BadPacket("no route option")
    data = option.data
    if len(data) & 3 != 1 or data[0] < 4 or (data[0] & 3 and data[0] <= len(data) + 2):
        raise BadPacket("IPv4 route option is wrong")
    route = [data[i : i + 4] for i in range(1, len(data), 4)]
    return RouteOption(option.kind, data[0], route, option.offset)


def find_source_route(options: bytes) -> RouteOption | None:
    """The source route among the options, if there is one. Raises BadPacket for wrong options."""
    for option in parse_options(options):
        if option.kind in (IPOPT_LSRR, IPOPT_SSRR):
            return parse_route(option)
    return None


def parse_timestamp(option: Ipv4Option) -> TimestampOption:
    """A timestamp option taken apart. Raises BadPacket for another kind or a wrong inside."""
    data = option.data
    if option.kind != IPOPT_TIMESTAMP or len(data) < 2:
        raise BadPacket("no timestamp option")
    flag = data[1] & 15
    size = 4 if flag == TIMESTAMP_ONLY else 8
    if data[0] < 5 or (len(data) - 2) % size or (data[0] <= len(data) + 2 and (data[0] - 5) % size):
        raise BadPacket("IPv4 timestamp option is wrong")
    entries: list[tuple[bytes, int]] = []
    for i in range(2, len(data), size):
        slot = data[i : i + size]
        entries.append((slot[: size - 4], int.from_bytes(slot[size - 4 :], "big")))
    return TimestampOption(flag, data[0], data[1] >> 4, entries, option.offset)


def parse_router_alert(option: Ipv4Option) -> int:
    """The value of a router alert, 0 for "router shall examine packet" (RFC 2113).

    Raises BadPacket for another option.
    """
    if option.kind != IPOPT_ROUTER_ALERT or len(option.data) != 2:
        raise BadPacket("no router alert option")
    return option.data[0] << 8 | option.data[1]


def build_route(route: RouteOption) -> bytes:
    """The option's bytes. Raises ValueError for more than 9 slots."""
    if len(route.route) > 9:
        raise ValueError("a route option has room for 9 addresses")
    return bytes([route.kind, 3 + 4 * len(route.route), route.pointer]) + b"".join(route.route)


def build_record_route(slots: int = 9) -> bytes:
    """An empty record route option with room for so many addresses, 1 to 9."""
    return build_route(RouteOption(IPOPT_RECORD_ROUTE, 4, [bytes(4)] * slots))


def build_timestamp(timestamp: TimestampOption) -> bytes:
    """The option's bytes. Raises ValueError where they are more than 40."""
    body = b""
    for address, value in timestamp.entries:
        if timestamp.flag != TIMESTAMP_ONLY:
            body += address
        body += value.to_bytes(4, "big")
    length = 4 + len(body)
    if length > MAX_OPTIONS:
        raise ValueError("IPv4 timestamp option is longer than 40 bytes")
    return bytes([IPOPT_TIMESTAMP, length, timestamp.pointer, timestamp.overflow << 4 | timestamp.flag]) + body


def build_router_alert(value: int = 0) -> bytes:
    """A router alert option (RFC 2113 section 2.1)."""
    return bytes([IPOPT_ROUTER_ALERT, 4, value >> 8 & 0xFF, value & 0xFF])


def build_source_route(hops: list[bytes], dst: bytes, strict: bool = False) -> tuple[bytes, bytes]:
    """(destination address field, option) of a datagram that goes to `dst` by way of `hops`, none or up to 9.

    RFC 1122 section 3.2.1.8: for S to D via G1 to Gn the datagram goes to G1 with {>>G2, G3, ... Gn, D}. Without hops
    the option is empty.
    """
    if not hops:
        return dst, b""
    kind = IPOPT_SSRR if strict else IPOPT_LSRR
    return hops[0], build_route(RouteOption(kind, 4, [*hops[1:], dst]))


def reverse_route(route: RouteOption, src: bytes) -> tuple[bytes, bytes]:
    """(destination address field, option) of an answer to a datagram of `src` that came with this source route.

    What is reversed is the route recorded so far: all of a completed one (RFC 1122 section 3.2.1.8, MUST-53 of RFC
    9293), up to the pointer for an ICMP error on the way (RFC 1812 section 4.3.2.6). "When a return source route is
    built, it MUST be correctly formed even if the recorded route included the source host."
    """
    hops = route.recorded()
    if hops and hops[0] == src:
        hops = hops[1:]
    hops.reverse()
    return build_source_route(hops, src, route.kind == IPOPT_SSRR)


def advance_source_route(options: bytes, route: RouteOption, address: bytes) -> tuple[bytes, bytes]:
    """(next destination address, options) of a datagram that reached a waypoint; `address` is ours on the way out.

    RFC 791: "the next address in the source route replaces the address in the destination address field, and the
    recorded route address replaces the source address just used, and pointer is increased by four."
    Raises ValueError where the route is completed.
    """
    if route.completed():
        raise ValueError("the source route is completed")
    slot = (route.pointer - 4) // 4
    at = route.offset + route.pointer - 1
    changed = options[:at] + address + options[at + 4 :]
    where = route.offset + 2
    return route.route[slot], changed[:where] + bytes([route.pointer + 4]) + changed[where + 1 :]


def record_route(options: bytes, address: bytes) -> bytes:
    """The options with `address` in the next slot of the record route option, if there is one with room (RFC 791)."""
    for option in parse_options(options):
        if option.kind == IPOPT_RECORD_ROUTE:
            route = parse_route(option)
            if not route.completed():
                at = option.offset + route.pointer - 1
                where = option.offset + 2
                changed = options[:at] + address + options[at + 4 :]
                return changed[:where] + bytes([route.pointer + 4]) + changed[where + 1 :]
    return options


def record_timestamp(options: bytes, own: list[bytes], timestamp: int) -> bytes:
    """The options with our timestamp in the next slot of the timestamp option, if there is one.

    `own` are our addresses: the first is recorded where one is asked for; where they are given beforehand the slot is
    filled only if its address is one of ours (RFC 791). A full option gets its overflow count raised. Raises
    BadPacket where the count overflows: "the original datagram is considered to be in error and is discarded".
    """
    for option in parse_options(options):
        if option.kind != IPOPT_TIMESTAMP:
            continue
        stamp = parse_timestamp(option)
        size = 4 if stamp.flag == TIMESTAMP_ONLY else 8
        slot = (stamp.pointer - 5) // size
        if slot >= len(stamp.entries):
            # Prespecified slots that are all used are no lack of space for those who are not among them.
            if stamp.flag == TIMESTAMP_PRESPECIFIED:
                return options
            if stamp.overflow == 15:
                raise BadPacket("IPv4 timestamp overflow count overflows")
            stamp.overflow += 1
        elif stamp.flag == TIMESTAMP_PRESPECIFIED:
            address = stamp.entries[slot][0]
            if address not in own:
                return options
            stamp.entries[slot] = (address, timestamp)
            stamp.pointer += size
        else:
            stamp.entries[slot] = (b"" if stamp.flag == TIMESTAMP_ONLY else own[0], timestamp)
            stamp.pointer += size
        built = build_timestamp(stamp)
        return options[: option.offset] + built + options[option.offset + len(built) :]
    return options


def copied_options(options: bytes) -> bytes:
    """What of the options belongs in fragments after the first: those with the copied flag (RFC 791 section 3.1).

    Padded to a multiple of 4. Raises BadPacket for wrong options.
    """
    out = b""
    for option in parse_options(options):
        if option.kind & IPOPT_COPIED:
            out += bytes([option.kind, 2 + len(option.data)]) + option.data
    return out + bytes(-len(out) & 3)
