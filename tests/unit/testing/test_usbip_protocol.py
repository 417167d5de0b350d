from __future__ import annotations

import errno
import re
import struct

import pytest
from hypothesis import given, strategies as st

from gadget.errors import ProtocolError, UsageError
from gadget.testing.usbip.usbip_protocol import (
    HEADER_SIZE,
    MAX_LENGTH,
    MAX_PACKETS,
    MAX_TRANSFER,
    Answer,
    AnswerDecoder,
    CommandDecoder,
    Submit,
    Unlink,
    Unlinked,
)
from gadget.testing.usbip.wire import Fault, Kind, Rule, Wire

U32 = st.integers(0, 0xFFFFFFFF)
S32 = st.integers(-(1 << 31), (1 << 31) - 1)


@st.composite
def submits(draw: st.DrawFn) -> Submit:
    is_in, length, packets = draw(st.booleans()), draw(st.integers(0, 40)), draw(st.integers(-1, 3))
    return Submit(
        draw(U32),
        is_in,
        draw(st.integers(0, 15)),
        length,
        b"" if is_in else draw(st.binary(min_size=length, max_size=length)),
        draw(U32),
        draw(U32),
        draw(S32),
        packets,
        draw(S32),
        draw(st.binary(min_size=8, max_size=8)),
        draw(st.binary(min_size=16 * max(0, packets), max_size=16 * max(0, packets))),
    )


@st.composite
def answers(draw: st.DrawFn, submit: Submit) -> Answer:
    actual = draw(st.integers(0, submit.length))
    data = draw(st.binary(min_size=actual, max_size=actual)) if submit.is_in else b""
    number, packets = submit.number_of_packets, submit.packets
    return Answer(submit.seqnum, draw(S32), actual, data, draw(S32), number, draw(S32), packets)


commands = st.one_of(submits(), st.builds(Unlink, U32, U32, U32, st.booleans(), U32))


def cut_anywhere(data: st.DataObject, stream: bytes) -> list[bytes]:
    """The stream in pieces, some of them empty."""
    places = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    return [stream[begin:end] for begin, end in zip([0, *places], [*places, len(stream)], strict=True)]


@given(messages=st.lists(commands, max_size=5), data=st.data())
def test_commands_come_out_as_they_went_in_wherever_they_are_cut(
    messages: list[Submit | Unlink], data: st.DataObject
) -> None:
    decoder = CommandDecoder()
    pieces = cut_anywhere(data, b"".join(map(bytes, messages)))
    assert [message for piece in pieces for message in decoder.feed(piece)] == messages


@given(asked=st.lists(submits(), max_size=5, unique_by=lambda submit: submit.seqnum), data=st.data())
def test_answers_come_out_as_they_went_in_wherever_they_are_cut(asked: list[Submit], data: st.DataObject) -> None:
    messages: list[Answer | Unlinked] = [data.draw(answers(submit)) for submit in asked]
    messages += data.draw(st.lists(st.builds(Unlinked, U32, S32), max_size=2))
    decoder = AnswerDecoder({submit.seqnum: submit for submit in asked}.get)
    pieces = cut_anywhere(data, b"".join(map(bytes, messages)))
    assert [message for piece in pieces for message in decoder.feed(piece)] == messages


def test_the_header_is_the_kernels() -> None:
    """As vhci-hcd 6.1 sent it: GET_DESCRIPTOR for the first 64 bytes of the device's."""
    sent = "00000001000000010001000100000001000000000000020000000040000000000000000000000000" + "8006000100004000"
    (submit,) = CommandDecoder().feed(bytes.fromhex(sent))
    setup = bytes.fromhex("8006000100004000")
    assert submit == Submit(1, True, 0, 64, devid=0x10001, flags=0x200, setup=setup)
    assert bytes(submit).hex() == sent


@given(st.binary(min_size=HEADER_SIZE, max_size=200))
def test_garbage_is_an_error_or_a_message_but_nothing_else(garbage: bytes) -> None:
    for decoder in (CommandDecoder(), AnswerDecoder(lambda seqnum: None)):
        try:
            messages = list(decoder.feed(garbage))
        except ProtocolError:
            continue
        assert messages or int.from_bytes(garbage[:4], "big") == 1, "it waits for something that is no message"


def header(*words: int) -> bytes:
    return struct.pack(f">{len(words)}I", *words).ljust(HEADER_SIZE, b"\0")


MINUS_ONE = 0xFFFFFFFF


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (header(7, 1), "the host sent the command 0x7"),
        (header(3, 1), "the host sent the command 0x3"),
        (b"GET / HTTP/1.1\r\n".ljust(HEADER_SIZE), "a direction of"),
        (header(1, 1, 0, 2), "a direction of 2"),
        (header(1, 1, 0, 1, 16), "there is no endpoint 16"),
        (header(1, 1, 0, 0, 1, 0, MAX_LENGTH + 1), f"a transfer of {MAX_LENGTH + 1} bytes"),
        (header(1, 1, 0, 0, 1, 0, MINUS_ONE), "a transfer of -1 bytes"),
        (header(1, 1, 0, 1, 1, 0, 8, 0, MAX_PACKETS + 1), f"a transfer of {MAX_PACKETS + 1} packets"),
    ],
)
def test_commands_that_are_none_are_refused_by_their_header(sent: bytes, reason: str) -> None:
    with pytest.raises(ProtocolError, match=re.escape(reason)):
        list(CommandDecoder().feed(sent))


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (header(1, 5), "the device sent the command 0x1"),
        (header(3, 6), "answered transfer 6, which it does not have"),
        (header(3, 5, 0, 0, 0, 0, 9), "9 bytes were transferred of 8"),
        (header(3, 5, 0, 0, 0, 0, MINUS_ONE), "-1 bytes were transferred of 8"),
        (header(3, 5, 0, 0, 0, 0, 8, 0, 2), "an answer of 2 packets"),
    ],
)
def test_answers_that_are_none_are_refused_by_their_header(sent: bytes, reason: str) -> None:
    with pytest.raises(ProtocolError, match=re.escape(reason)):
        list(AnswerDecoder({5: read(5)}.get).feed(sent))


def test_messages_that_do_not_agree_with_themselves_cannot_be_built() -> None:
    with pytest.raises(ProtocolError, match="2 bytes of data where 3 were announced"):
        Submit(1, False, 2, 3, b"ab")
    with pytest.raises(ProtocolError, match="1 bytes of data where 0 were announced"):
        Submit(1, True, 2, 3, b"a")
    with pytest.raises(ProtocolError, match="0 bytes of packets where 16 were announced"):
        Answer(1, number_of_packets=1)


@pytest.mark.parametrize(
    ("skip", "count", "applied"),
    [(0, 1, "x----"), (2, 1, "--x--"), (1, 2, "-xx--"), (0, None, "xxxxx"), (3, None, "---xx")],
)
def test_a_fault_applies_after_skip_count_times(skip: int, count: int | None, applied: str) -> None:
    fault = Fault(Kind.DROP, 0x81, count, skip)
    assert "".join("x" if fault.applies(seen) else "-" for seen in range(5)) == applied


def test_a_rule_counts_the_transfers_of_its_endpoint_until_it_is_removed() -> None:
    rule = Rule(Fault(Kind.DROP, 0x81, count=None, skip=1))
    assert [rule.matches(endpoint) for endpoint in (0x81, 0x02, 0x81, 0, 0x81)] == [False, False, True, False, True]
    assert rule.hits == 2
    rule.remove()
    assert not rule.matches(0x81)
    assert rule.hits == 2
    assert "2 hits, removed" in repr(rule)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ({"endpoint": 0x80}, "endpoint 0x80"),
        ({"endpoint": 0x10}, "endpoint 0x10"),
        ({"count": 0}, "count 0"),
        ({"skip": -1}, "skip -1"),
        ({"kind": Kind.FAIL}, "error 0"),
        ({"kind": Kind.FAIL, "error": -errno.EPIPE}, "give a positive errno"),
        ({"kind": Kind.SHORT, "length": -1}, "length -1"),
        ({"kind": Kind.SHORT, "endpoint": 0, "length": 128}, "length 128 for endpoint 0"),
        ({"kind": Kind.DELAY, "seconds": float("inf")}, "inf s"),
        ({"kind": Kind.DELAY, "seconds": float("nan")}, "nan s"),
        ({"kind": Kind.DELAY, "seconds": -1.0}, "-1.0 s"),
    ],
)
def test_faults_that_make_no_sense_are_refused(fault: dict[str, object], reason: str) -> None:
    with pytest.raises(UsageError, match=re.escape(reason)):
        Fault(**{"kind": Kind.DROP, "endpoint": 0x81, **fault})  # type: ignore[arg-type]


def read(seqnum: int, number: int = 1, length: int = 8) -> Submit:
    return Submit(seqnum, True, number, length)


def write(seqnum: int, data: bytes, number: int = 2) -> Submit:
    return Submit(seqnum, False, number, len(data), data)


MARK = 0xFEDC_BA98


class Bus:
    """A wire between a host and a device that are this test."""

    def __init__(self, *faults: Fault) -> None:
        self.rules = [Rule(fault) for fault in faults]
        self.wire = Wire(self.rules, mark=MARK)
        self._asked: dict[int, Submit] = {}
        assert self.to_device() == [Unlink(MARK, target=MARK)]
        self.device(Unlinked(MARK, 0))

    def host(self, *messages: Submit | Unlink, now: float = 0.0) -> None:
        self._asked |= {message.seqnum: message for message in messages if isinstance(message, Submit)}
        self.wire.from_host(b"".join(map(bytes, messages)), now)

    def device(self, *messages: Answer | Unlinked, now: float = 0.0) -> None:
        self.wire.from_device(b"".join(map(bytes, messages)), now)

    def to_device(self) -> list[Submit | Unlink]:
        """What has come to the device since the last look."""
        sent, self.wire.to_device[:] = bytes(self.wire.to_device), b""
        return list(CommandDecoder().feed(sent))

    def to_host(self) -> list[Answer | Unlinked]:
        """What has come to the host since the last look."""
        sent, self.wire.to_host[:] = bytes(self.wire.to_host), b""
        return list(AnswerDecoder(self._asked.get).feed(sent))


def test_without_rules_everything_passes() -> None:
    bus = Bus()
    bus.host(read(1), write(2, b"abc"))
    assert bus.to_device() == [read(1), write(2, b"abc")]
    sent: list[Answer | Unlinked] = [Answer(2, actual_length=3), Answer(1, actual_length=4, data=b"wxyz")]
    bus.device(*sent)
    assert bus.to_host() == sent
    assert bus.wire.next_expiry() is None


@given(data=st.data())
def test_what_the_connection_before_has_left_is_thrown_away(data: st.DataObject) -> None:
    wire = Wire([], mark=MARK)
    wire.from_host(bytes(read(1)), 0.0)
    assert bytes(wire.to_device) == bytes(Unlink(MARK, target=MARK)) + bytes(read(1))
    old: list[Answer | Unlinked] = [
        Answer(1, actual_length=5, data=b"stale"),
        Unlinked(7, 0),
        Answer(8, actual_length=4, data=b"more"),
    ]
    answer = Answer(1, actual_length=5, data=b"fresh")
    messages: list[Answer | Unlinked] = [*data.draw(st.permutations(old)), Unlinked(MARK, 0), answer]
    sent = b"".join(map(bytes, messages))
    for piece in cut_anywhere(data, sent):
        wire.from_device(piece, 0.0)
    assert bytes(wire.to_host) == bytes(answer)


def test_garbage_is_not_taken_for_what_was_left() -> None:
    with pytest.raises(ProtocolError, match="the device sent the command 0x47455420"):
        Wire([], mark=MARK).from_device(b"GET / HTTP/1.1\r\n".ljust(HEADER_SIZE), 0.0)


def test_an_endpoint_has_one_transfer_at_a_time() -> None:
    bus = Bus()
    bus.host(read(1), read(2), read(3, number=3))
    assert bus.to_device() == [read(1), read(3, number=3)]
    bus.device(Answer(1))
    assert bus.to_device() == [read(2)]
    assert bus.to_host() == [Answer(1)]


def test_control_transfers_of_both_directions_share_an_endpoint() -> None:
    bus = Bus()
    bus.host(read(1, number=0), write(2, b"a", number=0))
    assert bus.to_device() == [read(1, number=0)]


def test_a_failure_is_answered_in_turn_and_the_device_does_not_see_it() -> None:
    bus = Bus(Fault(Kind.FAIL, 0x81, error=errno.EPIPE, skip=1))
    bus.host(read(1), read(2), read(3))
    assert bus.to_host() == []
    bus.device(Answer(1))
    assert bus.to_host() == [Answer(1), Answer(2, status=-errno.EPIPE)]
    assert bus.to_device() == [read(1), read(3)]
    assert bus.rules[0].hits == 1


def test_a_failed_isochronous_transfer_is_answered_with_its_packets() -> None:
    packets = struct.pack(">8i", 0, 4, 0, 0, 4, 4, 0, 0)
    bus = Bus(Fault(Kind.FAIL, 0x81, error=errno.EXDEV))
    bus.host(Submit(1, True, 1, 8, number_of_packets=2, packets=packets))
    failed = struct.pack(">8i", 0, 4, 0, -errno.EXDEV, 4, 4, 0, -errno.EXDEV)
    assert bus.to_host() == [Answer(1, status=-errno.EXDEV, number_of_packets=2, packets=failed)]


def test_short() -> None:
    bus = Bus(Fault(Kind.SHORT, 0x81, length=2), Fault(Kind.SHORT, 0x02, length=2))
    bus.host(read(1), read(2), write(3, b"abcd"), write(4, b"efgh"))
    assert bus.to_device() == [read(1), write(3, b"ab")]
    bus.device(Answer(1, actual_length=4, data=b"wxyz"), Answer(3, actual_length=2))
    assert bus.to_host() == [Answer(1, actual_length=2, data=b"wx"), Answer(3, actual_length=2)]
    bus.device(Answer(2, actual_length=4, data=b"wxyz"), Answer(4, actual_length=4))
    assert bus.to_host() == [Answer(2, actual_length=4, data=b"wxyz"), Answer(4, actual_length=4)]


def test_short_is_no_longer_than_the_transfer_and_leaves_isochronous_ones_alone() -> None:
    bus = Bus(Fault(Kind.SHORT, 0x02, count=None, length=3))
    isochronous = Submit(2, False, 2, 4, b"abcd", number_of_packets=1, packets=struct.pack(">4i", 0, 4, 0, 0))
    bus.host(write(1, b"ab"), isochronous)
    bus.device(Answer(1, actual_length=2))
    assert bus.to_device() == [write(1, b"ab"), isochronous]


def test_a_device_cannot_take_more_than_it_was_given() -> None:
    bus = Bus(Fault(Kind.SHORT, 0x02, length=1))
    bus.host(write(1, b"abc"))
    with pytest.raises(ProtocolError, match="3 bytes were transferred of 1"):
        bus.device(Answer(1, actual_length=3))


def test_a_delay_holds_its_own_endpoint_up_and_no_other() -> None:
    bus = Bus(Fault(Kind.DELAY, 0x81, seconds=2.0))
    bus.host(read(1), read(2), read(3, number=3), now=10.0)
    assert bus.to_device() == [read(3, number=3)]
    assert bus.wire.next_expiry() == 12.0
    bus.wire.expire(11.9)
    assert bus.to_device() == []
    bus.wire.expire(12.0)
    assert bus.to_device() == [read(1)]
    assert bus.wire.next_expiry() is None
    bus.device(Answer(1), now=13.0)
    assert bus.to_device() == [read(2)]


@pytest.mark.parametrize("kind", [Kind.DROP, Kind.DELAY])
def test_a_held_transfer_can_be_taken_back(kind: Kind) -> None:
    bus = Bus(Fault(kind, 0x81, seconds=5.0 if kind is Kind.DELAY else 0.0))
    bus.host(read(1), read(2))
    assert (bus.to_device(), bus.to_host()) == ([], [])
    bus.host(Unlink(9, target=1))
    assert bus.to_host() == [Unlinked(9, -errno.ECONNRESET)]
    assert bus.to_device() == [read(2)]
    bus.wire.expire(100.0)
    assert bus.to_device() == []


def test_the_host_hears_of_an_unlink_before_what_waited_behind_it() -> None:
    bus = Bus(Fault(Kind.DROP, 0x81), Fault(Kind.FAIL, 0x81, error=errno.EPIPE))
    bus.host(read(1), read(2), Unlink(9, target=1))
    assert bus.to_host() == [Unlinked(9, -errno.ECONNRESET), Answer(2, status=-errno.EPIPE)]


def test_a_waiting_transfer_can_be_taken_back() -> None:
    bus = Bus()
    bus.host(read(1), read(2), read(3), Unlink(9, target=2))
    assert bus.to_host() == [Unlinked(9, -errno.ECONNRESET)]
    bus.device(Answer(1))
    assert bus.to_device() == [read(1), read(3)]


def test_an_unlink_goes_to_the_device_that_has_the_transfer() -> None:
    bus = Bus()
    bus.host(read(1), read(2), Unlink(9, target=1))
    assert bus.to_device() == [read(1), Unlink(9, target=1)]
    bus.device(Unlinked(9, -errno.ECONNRESET))
    assert bus.to_host() == [Unlinked(9, -errno.ECONNRESET)]
    assert bus.to_device() == [read(2)]


def test_an_unlink_that_the_answer_has_crossed() -> None:
    bus = Bus()
    bus.host(read(1), read(2), Unlink(9, target=1))
    bus.device(Answer(1, actual_length=1, data=b"a"), Unlinked(9, 0))
    assert bus.to_host() == [Answer(1, actual_length=1, data=b"a"), Unlinked(9, 0)]
    assert bus.to_device() == [read(1), Unlink(9, target=1), read(2)]


def test_an_unlink_of_what_has_been_answered() -> None:
    bus = Bus(Fault(Kind.FAIL, 0x81, error=errno.EPIPE))
    bus.host(read(1), Unlink(9, target=1))
    assert bus.to_host() == [Answer(1, status=-errno.EPIPE), Unlinked(9, 0)]
    assert bus.to_device() == []


def test_vanish_breaks_the_wire_once_the_device_has_the_transfer() -> None:
    bus = Bus(Fault(Kind.VANISH, 0x02, skip=1))
    bus.host(write(1, b"a"))
    assert not bus.wire.broken
    bus.host(write(2, b"b"), write(3, b"c"), read(4))
    bus.device(Answer(1, actual_length=1))
    assert bus.wire.broken
    assert bus.to_device() == [write(1, b"a"), read(4), write(2, b"b")]


def test_the_oldest_rule_that_applies_has_the_transfer_for_itself() -> None:
    faults = Fault(Kind.FAIL, 0x81, error=errno.EPROTO, skip=1), Fault(Kind.FAIL, 0x81, error=errno.EPIPE, skip=1)
    bus = Bus(*faults)
    bus.host(read(1))
    bus.device(Answer(1))
    bus.host(read(2), read(3))
    assert bus.to_host() == [Answer(1), Answer(2, status=-errno.EPROTO), Answer(3, status=-errno.EPIPE)]


def test_what_would_break_the_controller_is_refused() -> None:
    bus = Bus()
    bus.host(read(1, length=MAX_TRANSFER + 1), read(2, length=MAX_TRANSFER))
    assert bus.to_host() == [Answer(1, status=-errno.ENOMEM)]
    assert bus.to_device() == [read(2, length=MAX_TRANSFER)]


def test_an_answer_comes_only_once() -> None:
    bus = Bus()
    bus.host(read(1))
    with pytest.raises(ProtocolError, match="answered transfer 1, which it does not have"):
        bus.device(Answer(1), Answer(1))


@given(data=st.data())
def test_every_transfer_is_answered_once_and_in_order(data: st.DataObject) -> None:
    """Whatever the rules are, as long as the device answers and nothing is held for ever."""
    kinds = st.sampled_from([Kind.FAIL, Kind.SHORT, Kind.DELAY])
    counts = st.none() | st.integers(1, 3)
    drawn = st.lists(st.tuples(kinds, st.sampled_from([0x81, 0x02]), counts, st.integers(0, 3)), max_size=4)
    faults = [Fault(*fault, error=errno.EIO if fault[0] is Kind.FAIL else 0) for fault in data.draw(drawn)]
    bus = Bus(*faults)
    endpoints = data.draw(st.lists(st.sampled_from([1, 2]), max_size=12))
    for seqnum, number in enumerate(endpoints):
        bus.host(read(seqnum) if number == 1 else write(seqnum, b"abc"))
    answered: list[int] = []
    for _ in range(len(endpoints) + 1):
        bus.wire.expire(0.0)
        bus.device(*[Answer(message.seqnum) for message in bus.to_device()])
        answered += [message.seqnum for message in bus.to_host()]
    assert sorted(answered) == list(range(len(endpoints)))
    for number in (1, 2):
        own = [seqnum for seqnum in answered if endpoints[seqnum] == number]
        assert own == sorted(own)
