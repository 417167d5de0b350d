from __future__ import annotations

import asyncio

import pytest

from gadget.errors import ClosedError, DisabledError, DisconnectedError, GadgetError, SupersededError, UnboundError
from gadget.functionfs import ending
from gadget.functionfs.ending import Ending
from gadget.protocol.lifecycle import ENDINGS


@pytest.mark.parametrize("reason", [*ENDINGS.values(), ClosedError, DisconnectedError])
def test_every_reason_has_its_words(reason: type[GadgetError]) -> None:
    async def main() -> GadgetError:
        one = Ending()
        one.set(reason)
        return await one.error("Echo.rx")

    error = asyncio.run(main())
    assert type(error) is reason
    assert str(error).startswith("Echo.rx: ")


def test_a_transfer_waits_for_the_reason_and_the_first_one_counts() -> None:
    async def main() -> None:
        one = Ending()
        waiting = asyncio.create_task(one.error("Echo.rx"))
        await asyncio.sleep(0)
        assert not waiting.done()
        one.set(SupersededError)
        one.set(UnboundError)
        await asyncio.sleep(0)
        assert waiting.done()
        assert type(await waiting) is SupersededError
        assert type(await one.error("Echo.tx")) is SupersededError
        # A task that is cancelled as soon as it gives way still gets it.
        late = asyncio.create_task(one.error("Echo.tx"))
        asyncio.get_running_loop().call_soon(late.cancel)
        assert type(await late) is SupersededError

    asyncio.run(main())


def test_without_a_reason_it_is_a_disconnect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "REASON_TIMEOUT", 0.01)

    async def main() -> GadgetError:
        return await Ending().error("Echo.rx")

    error = asyncio.run(main())
    assert type(error) is DisconnectedError
    assert not isinstance(error, DisabledError)
