from __future__ import annotations

import pytest
from hypothesis import given, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from gadget.protocol.control import Action, ControlMachine, ControlState, Handle, Read, Refuse, Withdraw, Write
from gadget.protocol.functionfs_format import Setup

IN = Setup(request_type=0xC1, request=1, value=0, index=0, length=8)
OUT = Setup(request_type=0x41, request=2, value=0, index=0, length=8)
COMMAND = Setup(request_type=0x41, request=3, value=0, index=0, length=0)
setups = st.builds(
    Setup,
    request_type=st.integers(0, 255),
    request=st.integers(0, 255),
    value=st.integers(0, 65535),
    index=st.integers(0, 65535),
    length=st.sampled_from([0, 1, 8, 64, 4096, 65535]),
)


def test_in_request_is_handled_then_written() -> None:
    machine = ControlMachine()
    assert machine.request(IN, known=True) == Handle(IN)
    assert machine.answered(b"1.0") == Write(b"1.0")
    assert machine.transferred() is None
    assert machine.state is ControlState.IDLE


@given(st.binary(max_size=64))
def test_an_answer_is_cut_to_what_the_host_asked_for(answer: bytes) -> None:
    machine = ControlMachine()
    machine.request(IN, known=True)
    assert machine.answered(answer) == Write(answer[:8])


def test_out_request_is_read_before_its_handler_sees_it() -> None:
    machine = ControlMachine()
    assert machine.request(OUT, known=True) == Read(8)
    assert machine.transferred(b"data") == Handle(OUT, b"data")
    assert machine.answered(b"") is None
    assert machine.state is ControlState.IDLE


def test_a_request_without_data_is_acknowledged_by_reading_nothing() -> None:
    machine = ControlMachine()
    assert machine.request(COMMAND, known=True) == Handle(COMMAND)
    assert machine.answered(b"") == Read(0)


def test_a_refusal_goes_against_the_direction() -> None:
    assert ControlMachine().request(IN, known=False) == Refuse(by_writing=False)
    assert ControlMachine().request(OUT, known=False) == Refuse(by_writing=True)
    machine = ControlMachine()
    machine.request(IN, known=True)
    assert machine.refused() == Refuse(by_writing=False)
    assert machine.state is ControlState.IDLE


def test_a_refusal_after_the_data_comes_too_late() -> None:
    machine = ControlMachine()
    machine.request(OUT, known=True)
    machine.transferred(b"data")
    assert machine.refused() is None
    assert machine.state is ControlState.IDLE


def test_an_event_withdraws_an_undecided_request_and_nothing_else() -> None:
    machine = ControlMachine()
    assert machine.superseded() is None
    machine.request(IN, known=True)
    assert machine.superseded() == Withdraw()
    assert machine.state is ControlState.IDLE

    transferring = ControlMachine()
    transferring.request(OUT, known=True)
    assert transferring.superseded() is None
    assert transferring.state is ControlState.TRANSFERRING


def test_an_illegal_step_is_a_defect() -> None:
    with pytest.raises(RuntimeError, match="ANSWERED makes no sense while IDLE"):
        ControlMachine().answered(b"")


class AnyHost(RuleBasedStateMachine):
    """Whatever a host and a handler do in whatever order: the machine knows an answer and comes back to IDLE."""

    def __init__(self) -> None:
        super().__init__()
        self.machine = ControlMachine()

    def check(self, action: Action | None) -> None:
        state, setup = self.machine.state, self.machine.setup
        assert isinstance(action, Handle) == (state in (ControlState.DECIDING, ControlState.HANDLING))
        assert isinstance(action, (Read, Write)) == (state is ControlState.TRANSFERRING)
        if isinstance(action, Write):
            assert setup is not None
            assert len(action.data) <= setup.length
        if isinstance(action, Read):
            assert setup is not None
            assert action.length == setup.length

    @precondition(lambda self: self.machine.state is ControlState.IDLE)
    @rule(setup=setups, known=st.booleans())
    def request(self, setup: Setup, known: bool) -> None:
        action = self.machine.request(setup, known=known)
        self.check(action)
        if not known:
            assert action == Refuse(by_writing=setup.request_type < 0x80)

    @rule()
    def superseded(self) -> None:
        was_deciding = self.machine.state is ControlState.DECIDING
        assert (self.machine.superseded() == Withdraw()) == was_deciding

    @precondition(lambda self: self.machine.state in (ControlState.DECIDING, ControlState.HANDLING))
    @rule(answer=st.binary(max_size=100), refuse=st.booleans())
    def decide(self, answer: bytes, refuse: bool) -> None:
        was_handling = self.machine.state is ControlState.HANDLING
        action = self.machine.refused() if refuse else self.machine.answered(answer)
        assert (action is None) == was_handling
        self.check(action)

    @precondition(lambda self: self.machine.state is ControlState.TRANSFERRING)
    @rule(data=st.binary(max_size=8))
    def transfer(self, data: bytes) -> None:
        setup = self.machine.setup
        assert setup is not None
        takes_data = setup.request_type < 0x80 and setup.length > 0
        assert self.machine.transferred(data) == (Handle(setup, data) if takes_data else None)

    @precondition(lambda self: self.machine.state is ControlState.TRANSFERRING)
    @rule()
    def fail(self) -> None:
        self.machine.failed()
        assert self.machine.state is ControlState.IDLE


TestAnyHost = AnyHost.TestCase
