from __future__ import annotations

import asyncio

import pytest

from gadget import ClosedError, Function, LinkState, UsageError
from gadget.functionfs.link import Link
from gadget.protocol.constants import EventType


def test_it_begins_unbound_and_follows_what_is_told() -> None:
    link = Link()
    before = link.since
    assert link.infer(EventType.ENABLE) == (EventType.BIND, EventType.ENABLE)
    assert (link.state, link.generation) == (LinkState.UNBOUND, 0)
    link.tell(EventType.BIND)
    link.tell(EventType.ENABLE)
    assert (link.state, link.generation) == (LinkState.ENABLED, 1)
    assert link.since > before


def test_waiting_for_nothing_is_a_mistake() -> None:
    with pytest.raises(UsageError, match="waits for a state"):
        asyncio.run(Link().wait())


def test_who_waits_is_told_when_the_gadget_is_taken_down() -> None:
    async def main() -> None:
        link = Link()
        waiting = asyncio.create_task(link.wait(LinkState.ENABLED))
        await asyncio.sleep(0)
        link.close("Echo")
        with pytest.raises(ClosedError, match="Echo is not being served any more"):
            await waiting

    asyncio.run(main())


def test_tasks_wait_for_a_state() -> None:
    async def main() -> None:
        link = Link()
        both = [asyncio.create_task(link.wait(LinkState.ENABLED, LinkState.SUSPENDED)) for _ in range(2)]
        given_up = asyncio.create_task(link.wait(LinkState.ENABLED))
        await asyncio.sleep(0)
        given_up.cancel()
        link.tell(EventType.BIND)
        await asyncio.sleep(0)
        assert not any(task.done() for task in both)
        link.tell(EventType.ENABLE)
        assert await asyncio.gather(*both) == [LinkState.ENABLED] * 2
        assert await link.wait(LinkState.ENABLED) is LinkState.ENABLED
        assert not link._waiting

    asyncio.run(main())


def test_a_state_that_lasts_no_longer_than_a_moment_is_not_missed() -> None:
    async def main() -> None:
        link = Link()
        waiting = asyncio.create_task(link.wait(LinkState.ENABLED))
        await asyncio.sleep(0)
        for seen in (EventType.BIND, EventType.ENABLE, EventType.SUSPEND):
            link.tell(seen)
        assert await waiting is LinkState.ENABLED

    asyncio.run(main())


def test_every_function_has_one_of_its_own() -> None:
    class Careless(Function):
        def __init__(self) -> None:  # without super().__init__()
            self.mine = 1

    one, other = Careless(), Careless()
    one._link.tell(EventType.BIND)
    assert (one.link, other.link) == (LinkState.BOUND, LinkState.UNBOUND)
