from __future__ import annotations

import itertools

from hypothesis import given, strategies as st

from gadget.protocol.constants import EventType
from gadget.protocol.lifecycle import TRANSITIONS, Lifecycle, LinkState

REPORTED = [event for event in EventType if event is not EventType.SETUP]

#: What each event that a function sees requires, and makes, of the state: the legal sequences, said another way.
LEGAL = {
    EventType.BIND: ({LinkState.UNBOUND}, LinkState.BOUND),
    EventType.UNBIND: ({LinkState.BOUND}, LinkState.UNBOUND),
    EventType.ENABLE: ({LinkState.BOUND}, LinkState.ENABLED),
    EventType.DISABLE: ({LinkState.ENABLED, LinkState.SUSPENDED}, LinkState.BOUND),
    EventType.SUSPEND: ({LinkState.ENABLED}, LinkState.SUSPENDED),
    EventType.RESUME: ({LinkState.SUSPENDED}, LinkState.ENABLED),
}


def report(lifecycle: Lifecycle, *events: EventType) -> list[EventType]:
    """What the function sees when the kernel reports these."""
    seen = []
    for event in events:
        for each in lifecycle.infer(event):
            lifecycle.see(each)
            seen.append(each)
    return seen


def test_every_state_knows_every_event() -> None:
    assert set(TRANSITIONS) == set(itertools.product(LinkState, REPORTED))


@given(st.lists(st.sampled_from(REPORTED)))
def test_whatever_the_kernel_reports_the_function_sees_a_legal_sequence(events: list[EventType]) -> None:
    lifecycle, state = Lifecycle(), LinkState.UNBOUND
    for event in events:
        outcome = TRANSITIONS[state, event][0]
        for seen in report(lifecycle, event):
            allowed, following = LEGAL[seen]
            assert state in allowed, f"{seen.name} while {state.name}"
            state = following
        assert state is lifecycle.state is outcome


@given(st.lists(st.sampled_from(REPORTED)))
def test_generations_count_the_enables_that_the_function_sees(events: list[EventType]) -> None:
    lifecycle = Lifecycle()
    seen = report(lifecycle, *events)
    assert lifecycle.generation == seen.count(EventType.ENABLE)


def test_what_was_inferred_and_not_told_is_inferred_again() -> None:
    """The task that was telling it may have been cancelled."""
    lifecycle = Lifecycle()
    report(lifecycle, EventType.ENABLE)
    assert lifecycle.infer(EventType.UNBIND) == (EventType.DISABLE, EventType.UNBIND)
    lifecycle.see(EventType.DISABLE)
    assert lifecycle.infer(EventType.UNBIND) == (EventType.UNBIND,)


def test_an_enable_without_a_disable_ends_the_generation_before_it() -> None:
    lifecycle = Lifecycle()
    report(lifecycle, EventType.ENABLE)
    assert report(lifecycle, EventType.ENABLE) == [EventType.DISABLE, EventType.ENABLE]
    assert lifecycle.generation == 2


def test_a_purged_bind_is_inferred() -> None:
    assert Lifecycle().infer(EventType.ENABLE) == (EventType.BIND, EventType.ENABLE)


def test_suspend_does_not_end_a_generation() -> None:
    lifecycle = Lifecycle()
    report(lifecycle, EventType.ENABLE, EventType.SUSPEND, EventType.RESUME)
    assert lifecycle.generation == 1
    assert lifecycle.state is LinkState.ENABLED
