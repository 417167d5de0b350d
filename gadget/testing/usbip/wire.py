"""Faults on a USB/IP connection, without I/O: what goes wrong with which transfer, and what a cable makes of it."""

from __future__ import annotations

import errno
from collections import deque
from dataclasses import dataclass
from enum import Enum, auto
from typing import ClassVar

from gadget.errors import UsageError
from gadget.testing.usbip.usbip_protocol import (
    CONTROL_PACKET,
    HEADER_SIZE,
    MAX_TRANSFER,
    Answer,
    AnswerDecoder,
    Command,
    CommandDecoder,
    Submit,
    Unlink,
    Unlinked,
    refuse_unless,
)


class Kind(Enum):
    """What can go wrong with a transfer; :class:`gadget.testing.usbip.cable.Cable` says more of each."""

    FAIL = auto()
    SHORT = auto()
    DELAY = auto()
    DROP = auto()
    VANISH = auto()


@dataclass(frozen=True, slots=True)
class Fault:
    """Something to go wrong with transfers of one endpoint, after the first ``skip``, ``count`` times (None: always).

    Attributes:
        kind: What goes wrong.
        endpoint: The address as in the descriptor; 0 for control transfers in either direction.
        count: How often; None without end.
        skip: How many transfers pass first.
        error: The positive errno of a FAIL.
        length: How many bytes a SHORT lets through.
        seconds: How long a DELAY takes.
    """

    ENDPOINTS: ClassVar[frozenset[int]] = frozenset(range(0x10)) | frozenset(range(0x81, 0x90))

    kind: Kind
    endpoint: int
    count: int | None = 1
    skip: int = 0
    error: int = 0
    length: int = 0
    seconds: float = 0.0

    def __post_init__(self) -> None:
        rules = {
            f"endpoint {self.endpoint:#x}: give the address of its descriptor (0x81, 0x02), or 0 for control": (
                self.endpoint in self.ENDPOINTS
            ),
            f"count {self.count}: give 1 or more, or None for always": self.count is None or self.count > 0,
            f"skip {self.skip}: give 0 or more transfers": self.skip >= 0,
            f"error {self.error}: give a positive errno (errno.EPROTO)": (self.kind is Kind.FAIL) == (self.error > 0),
            f"length {self.length}: give 0 or more bytes": self.length >= 0,
            f"{self.seconds} s: give 0 or more seconds": 0 <= self.seconds < float("inf"),
            f"length {self.length} for endpoint 0: usbip-vudc sees no end of a control data stage that is cut after "
            f"whole packets of {CONTROL_PACKET} bytes; give another length": (
                self.kind is not Kind.SHORT or self.endpoint != 0 or not self.length or self.length % CONTROL_PACKET > 0
            ),
        }
        for what, holds in rules.items():
            if not holds:
                raise UsageError(what)

    def applies(self, seen: int) -> bool:
        """Whether the next transfer of its endpoint is one to spoil, after it has seen so many."""
        return self.skip <= seen and (self.count is None or seen < self.skip + self.count)


class Rule:
    """A fault that is in force, until it is removed or used up."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.hits = 0
        self._seen = 0
        self._removed = False

    def __repr__(self) -> str:
        return f"<Rule {self.fault}, {self.hits} hits{', removed' if self._removed else ''}>"

    def remove(self) -> None:
        """Ends it; a transfer that it has spoiled already (dropped, delayed) stays so."""
        self._removed = True

    def matches(self, endpoint: int) -> bool:
        """Whether it applies to the next transfer of this endpoint, which it thereby has seen."""
        if self._removed or endpoint != self.fault.endpoint:
            return False
        applies = self.fault.applies(self._seen)
        self._seen += 1
        self.hits += applies
        return applies


@dataclass(frozen=True, slots=True)
class _Turn:
    """The transfer whose turn it is on its endpoint: at the device, or held here (until a time, or for ever)."""

    submit: Submit
    at_device: bool = False
    until: float = float("inf")
    limit: int | None = None


class Wire:
    """What a cable does with the messages of both ends: bytes in, bytes out, and ``broken`` once it is torn apart.

    An endpoint has one transfer at a time, as on a bus; the others of the host wait here for their turn. That is when a
    fault meets a transfer, so that ``skip`` counts in the order of the bus and nothing overtakes.

    What usbip-vudc had not sent yet when the connection before ended, it sends on this one (``vudc_dev.c``:
    stop_activity leaves the queue alone; measured). It answers in order, so a question comes first, and what comes
    before its answer is thrown away.

    Args:
        rules: The rules in force, the oldest first; the first that matches a transfer has it for itself.
        mark: The sequence number of that question, which no connection may have used before.
    """

    def __init__(self, rules: list[Rule], mark: int) -> None:
        self.to_host = bytearray()
        self.to_device = bytearray(bytes(Unlink(mark, target=mark)))
        self.broken = False
        self._rules = rules
        self._commands = CommandDecoder()
        self._answers = AnswerDecoder(self._find)
        self._waiting: dict[int, deque[Submit]] = {}
        self._turns: dict[int, _Turn] = {}
        self._unlinks: dict[int, int] = {}
        self._mark: bytes | None = bytes(Unlinked(mark, 0))
        self._old = b""

    def from_host(self, data: bytes, now: float) -> None:
        """Takes what the host's end sent."""
        for message in self._commands.feed(data):
            if isinstance(message, Submit):
                self._waiting.setdefault(message.endpoint, deque()).append(message)
                self._advance(message.endpoint, now)
            else:
                self._unlink(message, now)

    def from_device(self, data: bytes, now: float) -> None:
        """Takes what the device's end sent."""
        for message in self._answers.feed(data if self._mark is None else self._behind(self._mark, data)):
            done = message.seqnum if isinstance(message, Answer) else self._unlinks.pop(message.seqnum, None)
            turn = self._at_device(done)
            limit = turn.limit if turn is not None else None
            self.to_host += bytes(message.cut(limit) if isinstance(message, Answer) and limit is not None else message)
            if turn is not None:
                self._end(turn, now)

    def _behind(self, mark: bytes, data: bytes) -> bytes:
        """Throws away what belongs to the connection before."""
        self._old += data
        command = int.from_bytes(self._old[:4], "big")
        known = len(self._old) < HEADER_SIZE or command in (Command.ANSWER, Command.UNLINKED)
        refuse_unless(known, f"the device sent the command {command:#x}")
        _, found, fresh = self._old.partition(mark)
        if found:
            self._mark, self._old = None, b""
        return fresh

    def expire(self, now: float) -> None:
        """Hands the transfers on whose delay is over."""
        for turn in [turn for turn in self._turns.values() if turn.until <= now]:
            self._hand_over(turn.submit)

    def next_expiry(self) -> float | None:
        """When :meth:`expire` has something to do; None if no transfer is delayed."""
        until = min((turn.until for turn in self._turns.values()), default=float("inf"))
        return None if until == float("inf") else until

    def _at_device(self, seqnum: int | None) -> _Turn | None:
        turns = self._turns.values()
        return next((turn for turn in turns if turn.at_device and turn.submit.seqnum == seqnum), None)

    def _find(self, seqnum: int) -> Submit | None:
        turn = self._at_device(seqnum)
        return None if turn is None else turn.submit

    def _end(self, turn: _Turn, now: float) -> None:
        del self._turns[turn.submit.endpoint]
        self._advance(turn.submit.endpoint, now)

    def _advance(self, endpoint: int, now: float) -> None:
        """Begins the next transfers of an endpoint whose turn is free."""
        waiting = self._waiting[endpoint]
        while waiting and endpoint not in self._turns and not self.broken:
            self._begin(waiting.popleft(), now)

    def _begin(self, submit: Submit, now: float) -> None:
        if submit.length > MAX_TRANSFER:
            self.to_host += bytes(submit.refused(errno.ENOMEM))
            return
        rule = next((rule for rule in self._rules if rule.matches(submit.endpoint)), None)
        fault = None if rule is None else rule.fault
        match fault:
            case Fault(kind=Kind.FAIL, error=error):
                self.to_host += bytes(submit.refused(error))
            case Fault(kind=Kind.DROP):
                self._turns[submit.endpoint] = _Turn(submit)
            case Fault(kind=Kind.DELAY, seconds=seconds):
                self._turns[submit.endpoint] = _Turn(submit, until=now + seconds)
            case Fault(kind=Kind.SHORT, length=length):
                self._hand_over(submit.cut(length), length)
            case _:
                self._hand_over(submit)
                self.broken = fault is not None

    def _hand_over(self, submit: Submit, limit: int | None = None) -> None:
        self._turns[submit.endpoint] = _Turn(submit, at_device=True, limit=limit)
        self.to_device += bytes(submit)

    def _unlink(self, unlink: Unlink, now: float) -> None:
        """Takes a transfer back: from the device if it is there; otherwise the device has never seen it."""
        turn = next((turn for turn in self._turns.values() if turn.submit.seqnum == unlink.target), None)
        if turn is not None and turn.at_device:
            self._unlinks[unlink.seqnum] = unlink.target
            self.to_device += bytes(unlink)
            return
        held = turn is not None or self._forget(unlink.target)
        self.to_host += bytes(Unlinked(unlink.seqnum, -errno.ECONNRESET if held else 0))
        if turn is not None:
            self._end(turn, now)

    def _forget(self, seqnum: int) -> bool:
        """Takes a transfer out of those that wait for their turn; False if it is not among them: it was answered."""
        for waiting in self._waiting.values():
            for submit in waiting:
                if submit.seqnum == seqnum:
                    waiting.remove(submit)
                    return True
        return False
