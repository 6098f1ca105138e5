"""Runs a script on a ground: does what it does, and holds what happens against what it expects.

Theory of operation. Events are taken in their order. What the script does (a packet it sends, a system call, a command,
code) is done at its time; for a packet that it expects, time goes on until one comes or until it is too late. Packets
of the stack wait in order until an expectation takes them, so one that nobody expects is in the way of the next. A call
that is to wait (`t...t2`) goes on while the script does, and is looked at again before each event: it must return at
its time, not before. Nothing bends an expectation: the first that is not met ends the run.
"""

from __future__ import annotations

import sys
from collections import deque
from typing import Final

from plankroad.packetdrill.assertions import Assertions, uses_info
from plankroad.packetdrill.binding import Binder, Prepared
from plankroad.packetdrill.conversations import Conversation, Conversations
from plankroad.packetdrill.errors import BadScriptError, NotApplicableError, ScriptError
from plankroad.packetdrill.flow import pattern
from plankroad.packetdrill.ground import Ground
from plankroad.packetdrill.match import PUSHED_BURSTS, PUSHED_NEVER, PUSHED_UNSEEN, Arrival, Expectation
from plankroad.packetdrill.outcome import FAILED, NOT_APPLICABLE, PASSED, NotMetError, Outcome
from plankroad.packetdrill.packets import build
from plankroad.packetdrill.seen import see, seen_text
from plankroad.packetdrill.syntax import (
    OUTBOUND,
    SYN,
    URG,
    Code,
    Command,
    Event,
    Packet,
    Script,
    Syscall,
    Tcp,
)
from plankroad.packetdrill.syscalls import finish, prepare
from plankroad.packetdrill.timing import Due, Timeline, seconds, wrong_time
from plankroad.testing.abi import (
    AF_UNSPEC,
    IPPROTO_TCP,
    MSG_FASTOPEN,
    MSG_OOB,
    MSG_PEEK,
    MSG_TRUNC,
    SOCK_DGRAM,
    SOCK_TYPE_MASK,
    TCP_MAXSEG,
)
from plankroad.testing.call import Call, SockName
from plankroad.testing.names import to_wire
from plankroad.units import SECOND
from plankroad.wire.constants import PROTO_TCP, PROTO_UDP
from plankroad.wire.errors import BadPacket

#: A packet that may come at any time (`*`) is waited for so long.
ANY_TIME_LIMIT: Final = 3600 * SECOND

_EINPROGRESS: Final = 115

_WRITES: Final = ("write", "writev", "send", "sendto", "sendmsg")
_READS: Final = ("read", "readv", "recv", "recvfrom", "recvmsg")
#: The place of the flags among the ground's arguments.
_FLAGS_AT: Final = {"recv": 2, "recvfrom": 2, "recvmsg": 2, "send": 2, "sendto": 2, "sendmsg": 2}


class Running:
    """A system call that has not returned."""

    __slots__ = ("call", "due", "event", "prepared", "syscall", "written")

    def __init__(self, event: Event, syscall: Syscall, prepared: Prepared, call: Call, due: Due) -> None:
        self.event = event
        self.syscall = syscall
        self.prepared = prepared
        self.call = call
        self.due = due
        #: The conversation whose `written` has the bytes of this call, and from where on.
        self.written: tuple[Conversation, int] | None = None


class Runner:
    """One run of one script. `strict_end`: packets that the stack sent up to the last event, and that no expectation
    took, are a failure too.
    """

    def __init__(self, script: Script, ground: Ground, strict_end: bool = True) -> None:
        self.script = script
        self.ground = ground
        self.strict_end = strict_end
        settings = ground.settings
        self.timeline = Timeline(settings.tolerance, settings.tolerance_percent)
        self.binder = Binder(settings)
        self.conversations = Conversations(settings)
        self.assertions = Assertions()
        self.running: list[Running] = []
        self.arrivals: deque[Arrival] = deque()
        self.kinds: dict[int, int] = {}
        self.ports: dict[int, int] = {}
        self.over = 0

    def run(self) -> Outcome:
        """The script from its first command to its last. Never raises for what the script or the stack does."""
        script = self.script
        try:
            for command in script.init:
                self._command(command)
            for event in script.events:
                self._event(event)
            self._finish()
            for command in script.cleanup:
                self._command(command)
        except NotMetError as failure:
            return Outcome(script.file, FAILED, failure.why, failure.line, failure.detail)
        except NotApplicableError as reason:
            return Outcome(script.file, NOT_APPLICABLE, str(reason), self._line)
        except BadScriptError as error:
            line = error.where.line if error.where is not None else self._line
            return Outcome(script.file, FAILED, error.message, line)
        except ScriptError as error:
            return Outcome(script.file, FAILED, str(error), self._line)
        return Outcome(script.file, PASSED)

    _line = 0

    def _event(self, event: Event) -> None:
        self._line = event.where.line
        action = event.action
        due = self.timeline.due(event, self.over)
        if isinstance(action, Packet) and action.direction == OUTBOUND:
            self._expect(event, action, due)
            return
        self._go_to(due.start)
        at = self.ground.now()
        if isinstance(action, Packet):
            self._inject(action)
        elif isinstance(action, Syscall):
            at = self._syscall(event, action, due)
        elif isinstance(action, Command):
            self._command(action)
        else:
            self._code(action)
        self.over = at
        self.timeline.over(event, due, at)

    def _go_to(self, time: int) -> None:
        """Let time go on, and see what became of the calls that were waiting."""
        ground = self.ground
        if time > ground.now():
            ground.advance(time)
        self._look_at_running()

    # Packets

    def _inject(self, packet: Packet) -> None:
        conversation = self.conversations.of_injected(packet)
        body = packet.body
        if isinstance(body, Tcp) and (body.flags & URG or (body.flags & SYN and body.seq.length)):
            # Of what the program will read no simple tale can be told.
            conversation.reads_checked = False
        self.ground.inject(build(packet, conversation.flow))
        self._look_at_running()

    def _collect(self) -> None:
        """Take what the ground has."""
        sent = self.ground.take()
        while sent is not None:
            try:
                seen = see(sent.packet)
                seen.ends_burst = sent.ends_burst
            except BadPacket as exc:
                raise NotMetError(self._line, f"the stack sent what is no packet: {exc}", sent.packet.hex()) from None
            self.arrivals.append(Arrival(sent.time, seen))
            sent = self.ground.take()

    def _next_arrival(self, conversation: Conversation, until: int) -> Arrival | None:
        """The next packet, None where none comes up to `until`."""
        while True:
            self._collect()
            while self.arrivals:
                arrival = self.arrivals.popleft()
                if not self.conversations.passes_over(arrival.seen, conversation):
                    return arrival
            if not self.ground.wait_packet(until):
                return None

    def _expect(self, event: Event, packet: Packet, due: Due) -> None:
        settings = self.ground.settings
        conversation = self.conversations.of_expected(packet)
        flow = conversation.flow
        pushed = PUSHED_NEVER
        if settings.pushes_bursts:
            pushed = PUSHED_UNSEEN if settings.bursts_hidden else PUSHED_BURSTS
        expectation = Expectation(packet, flow, settings.tolerance, settings.strict_segments, pushed)
        until = self.ground.now() + ANY_TIME_LIMIT if due.any_time else due.latest
        came = 0
        while not expectation.done:
            arrival = self._next_arrival(conversation, until)
            if arrival is None:
                self._look_at_running()
                part = "the rest of " if came else ""
                when = "" if due.any_time else f" by {seconds(until)} s"
                raise NotMetError(event.where.line, f"{part}a packet is missing{when}: {packet.text}")
            rest = expectation.offer(arrival)
            if expectation.failed:
                sent = seen_text(arrival.seen, flow)
                why = f"expected {packet.text}, the stack sent {sent} at {seconds(arrival.time)} s"
                raise NotMetError(event.where.line, why, expectation.report())
            if rest is not None:
                self.arrivals.appendleft(rest)
            came += 1
            wrong = wrong_time(due, arrival.time)
            if wrong:
                raise NotMetError(event.where.line, f"{packet.text} at the wrong time: {wrong}")
            self.over = arrival.time
        self._look_at_running()
        self.timeline.over(event, due, self.over)

    # System calls

    def _syscall(self, event: Event, syscall: Syscall, due: Due) -> int:
        prepared = prepare(self.binder, syscall)
        ground = self.ground
        started = ground.now()
        conversation = self.conversations.by_fd.get(prepared.fd)
        written: tuple[Conversation, int] | None = None
        if conversation is not None:
            if prepared.kind in _WRITES:
                written = (conversation, len(conversation.written))
                conversation.written += prepared.writes
            elif prepared.kind in ("sendfile", "splice"):
                conversation.flow.outgoing = None
        elif prepared.kind in _WRITES and self._opens(prepared):
            conversation = self._begin(prepared)
            written = (conversation, 0)
            conversation.written += prepared.writes
        call = ground.start(prepared.kind, *prepared.arguments)
        running = Running(event, syscall, prepared, call, due)
        running.written = written
        if prepared.kind == "connect":
            self._connects(prepared, call)
        if call.done:
            self._returned(running)
            return ground.now()
        if due.call_end is None:
            # It must not wait, but a real kernel's answer takes a moment to come.
            if ground.virtual or not ground.wait_call(call, started + due.tolerance):
                raise NotMetError(
                    event.where.line, f"{syscall.name} waits, but was to return at once: {syscall.text}"
                )
            self._returned(running)
            return ground.now()
        self.running.append(running)
        return started

    def _look_at_running(self) -> None:
        for running in list(self.running):
            if running.call.done:
                self.running.remove(running)
                self._returned(running)
            elif (
                running.due.call_end is not None and self.ground.now() > running.due.call_end + running.due.tolerance
            ):
                name = running.syscall.name
                raise NotMetError(
                    running.event.where.line,
                    f"{name} still waits at {seconds(self.ground.now())} s, "
                    f"but was to return at {seconds(running.due.call_end)} s: {running.syscall.text}",
                )

    def _returned(self, running: Running) -> None:
        call, due, syscall = running.call, running.due, running.syscall
        line = running.event.where.line
        if running.written is not None:
            # Only what the call took was written.
            conversation, start = running.written
            del conversation.written[start + max(0, call.value) :]
        found = finish(self.binder, syscall, running.prepared, call)
        self._note(running.prepared, call)
        if found:
            raise NotMetError(line, found[0], "\n".join([syscall.text, *found[1:]]))
        if due.call_end is not None:
            window = Due(due.call_end, due.call_end, due.tolerance)
            wrong = wrong_time(window, call.ended)
            if wrong:
                raise NotMetError(line, f"{syscall.name} returned at the wrong time: {wrong}", syscall.text)
        self._check_read(line, running.prepared, call)

    def _note(self, prepared: Prepared, call: Call) -> None:
        """What the call means for conversations."""
        kind = prepared.kind
        script_fd = prepared.fd
        if kind == "socket" and isinstance(prepared.expected, int):
            kind_of = prepared.arguments[1]
            assert isinstance(kind_of, int)
            self.kinds[prepared.expected] = kind_of & SOCK_TYPE_MASK
            self.ports.pop(prepared.expected, None)
        elif call.value < 0:
            return
        elif kind == "bind":
            name = prepared.arguments[1]
            if isinstance(name, SockName):
                self.ports[script_fd] = name.port
        elif kind == "listen":
            self.conversations.listens(self.ports.get(script_fd, 0) or self.ground.settings.bind_port, script_fd)
        elif kind == "setsockopt" and prepared.arguments[1:3] == [IPPROTO_TCP, TCP_MAXSEG]:
            value = prepared.arguments[3]
            if isinstance(value, bytes):
                self.conversations.limits_segments(script_fd, int.from_bytes(value[:4], sys.byteorder))
        elif kind in ("accept", "accept4"):
            port = call.name.port if call.name is not None else 0
            if isinstance(prepared.expected, int):
                self.conversations.accepted(prepared.expected, port)
        elif kind == "close":
            self.conversations.closed(script_fd)

    def _connects(self, prepared: Prepared, call: Call) -> None:
        """A call of connect that succeeded or is under way begins a conversation."""
        name = prepared.arguments[1]
        if not isinstance(name, SockName):
            return
        if name.family == AF_UNSPEC:
            self.conversations.closed(prepared.fd)
            return
        known = self.conversations.by_fd.get(prepared.fd)
        if call.done and call.value == 0 and known is not None:
            return  # it only asked how the first attempt went
        if not call.done or call.value == 0 or call.errno == _EINPROGRESS:
            self._begin(prepared, name)

    def _opens(self, prepared: Prepared) -> bool:
        """A write that opens a connection (MSG_FASTOPEN), or a datagram to somebody."""
        kind = prepared.kind
        if self.kinds.get(prepared.fd) == SOCK_DGRAM:
            return kind in ("sendto", "sendmsg")
        at = _FLAGS_AT.get(kind, -1)
        flags = prepared.arguments[at] if at >= 0 else 0
        return isinstance(flags, int) and bool(flags & MSG_FASTOPEN)

    def _begin(self, prepared: Prepared, name: SockName | None = None) -> Conversation:
        if name is None:
            name = next((one for one in prepared.arguments if isinstance(one, SockName)), None)
        remote, port = b"", 0
        if name is not None:
            try:
                remote, port = to_wire(name.family, name)
            except OSError:
                remote, port = b"", name.port
        protocol = PROTO_UDP if self.kinds.get(prepared.fd) == SOCK_DGRAM else PROTO_TCP
        local = self.ports.get(prepared.fd, 0)
        if len(remote) != len(self.ground.settings.local):
            remote = b""
        return self.conversations.connects(prepared.fd, port, remote, local, protocol)

    def _check_read(self, line: int, prepared: Prepared, call: Call) -> None:
        """What the program read is what the script's packets brought."""
        conversation = self.conversations.by_fd.get(prepared.fd)
        if prepared.kind not in _READS or conversation is None or call.value <= 0:
            return
        at = _FLAGS_AT.get(prepared.kind, -1)
        flags = prepared.arguments[at] if at >= 0 else 0
        assert isinstance(flags, int)
        if flags & MSG_OOB:
            return
        if conversation.reads_checked and not flags & MSG_TRUNC:
            start = conversation.read_at
            for at in range(0, len(call.data), 65536):
                piece = call.data[at : at + 65536]
                if piece != pattern(start + at, len(piece)):
                    raise NotMetError(line, f"{prepared.kind} gave other bytes than those that came")
        if not flags & MSG_PEEK:
            conversation.read_at += call.value

    # The rest

    def _command(self, command: Command) -> None:
        self._line = command.where.line
        result = self.ground.command(command.text)
        if result.status != 0:
            text = " ".join(command.text.split())
            raise NotMetError(
                command.where.line, f"the command ended with status {result.status}: {text}", result.output.rstrip()
            )

    def _code(self, code: Code) -> None:
        info: dict[str, int] = {}
        if uses_info(code):
            conversation = self.conversations.current
            if conversation is None or conversation.fd < 0:
                raise ScriptError("the code asks for tcp_info, but the program has no connection yet")
            info = self.ground.info(self.binder.descriptors.get(conversation.fd))
        why = self.assertions.run(code, info)
        if why:
            first, _, rest = why.partition("\n")
            raise NotMetError(
                code.where.line, first, "\n".join([*code.text.strip().splitlines(), *rest.splitlines()])
            )

    def _finish(self) -> None:
        """The last event is over: calls that still wait have their time, packets that nobody expected are told."""
        self._collect()
        arrivals = list(self.arrivals)
        while self.running:
            ends = [one.due.call_end + one.due.tolerance for one in self.running if one.due.call_end is not None]
            first = self.running[0]
            if not self.ground.wait_call(first.call, max(ends) + 1):
                self._look_at_running()
            self._look_at_running()
        if not self.strict_end:
            return
        current = self.conversations.current
        for arrival in arrivals:
            if current is not None and self.conversations.passes_over(arrival.seen, current):
                continue
            shown = seen_text(arrival.seen, current.flow) if current is not None else "a packet"
            line = self.script.events[-1].where.line if self.script.events else 0
            raise NotMetError(
                line, f"at the end a packet is left that nobody expected: {shown} at {seconds(arrival.time)} s"
            )


def run_on(script: Script, ground: Ground, strict_end: bool = True) -> Outcome:
    """Run `script` on `ground`, and close it."""
    try:
        return Runner(script, ground, strict_end).run()
    finally:
        ground.close()
