from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from gadget.errors import Stall
from gadget.functionfs import handler_task
from gadget.functionfs.handler_task import HandlerTask
from gadget.functionfs.handlers import Handler
from gadget.protocol.functionfs_format import Setup

SETUP = Setup(0xC1, 1, 0, 0, 8)


class Scene:
    """A task, and what it has told."""

    def __init__(self) -> None:
        self.answers: list[bytes | None] = []
        self.errors: list[BaseException] = []
        self.go = asyncio.Event()
        self.task = HandlerTask(self.answers.append, self.errors.append)

    async def at_once(self, setup: Setup) -> bytes:
        return b"at once"

    async def slow(self, setup: Setup) -> bytes:
        await self.go.wait()
        return b"slow"

    async def stubborn(self, setup: Setup) -> bytes:
        while not self.go.is_set():
            try:
                await self.go.wait()
            except asyncio.CancelledError:
                continue
        return b"stubborn"

    def start(self, handler: Handler) -> None:
        self.task.start(handler, SETUP, b"")


def play(play: Callable[[Scene], Coroutine[Any, Any, None]]) -> Scene:
    async def main() -> Scene:
        scene = Scene()
        scene.task.prepare()
        await asyncio.sleep(0)
        await play(scene)
        await scene.task.close()
        return scene

    return asyncio.run(main())


def from_the_loop(callback: Callable[[], None]) -> asyncio.Future[None]:
    """Calls it where no task is running, as the event loop calls what watches a file descriptor."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()

    def call() -> None:
        callback()
        done.set_result(None)

    loop.call_soon(call)
    return done


def test_a_handler_that_waits_for_nothing_has_ended_at_once() -> None:
    async def scene(scene: Scene) -> None:
        def start() -> None:
            scene.start(scene.at_once)
            assert (scene.answers, scene.task.busy) == ([b"at once"], False)

        for _ in range(3):
            await from_the_loop(start)
            scene.answers.clear()

    play(scene)


def test_one_that_waits_holds_nothing_up() -> None:
    async def scene(scene: Scene) -> None:
        scene.start(scene.slow)
        await asyncio.sleep(0.01)
        assert (scene.answers, scene.task.busy) == ([], True)
        scene.go.set()
        await asyncio.sleep(0.01)
        assert (scene.answers, scene.task.busy) == ([b"slow"], False)

    play(scene)


def test_the_end_of_one_may_start_the_next() -> None:
    async def scene(scene: Scene) -> None:
        def ended(answer: bytes | None) -> None:
            scene.answers.append(answer)
            if len(scene.answers) < 3:
                scene.task.start(scene.at_once, SETUP, b"")

        scene.task._ended = ended
        await from_the_loop(lambda: scene.start(scene.at_once))
        assert scene.answers == [b"at once"] * 3

    play(scene)


@pytest.mark.parametrize("error", [Stall, RuntimeError, asyncio.CancelledError])
def test_one_that_fails_refuses_and_the_next_one_works(error: type[BaseException]) -> None:
    async def scene(scene: Scene) -> None:
        async def fails(setup: Setup) -> bytes:
            raise error

        await from_the_loop(lambda: scene.start(fails))
        await from_the_loop(lambda: scene.start(scene.at_once))
        assert scene.answers == [None, b"at once"]

    play(scene)


def test_one_that_is_abandoned_is_cancelled_and_its_end_is_nobodys() -> None:
    async def scene(scene: Scene) -> None:
        scene.start(scene.stubborn)
        await asyncio.sleep(0.01)
        scene.task.abandon()
        await from_the_loop(lambda: scene.start(scene.at_once))
        await asyncio.sleep(0.01)
        assert scene.answers == [b"at once"], "the next one does not wait for it"
        scene.go.set()

    assert play(scene).answers == [b"at once"]


def test_stopping_waits_and_complains(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(handler_task, "PATIENCE", 0.01)

    async def scene(scene: Scene) -> None:
        await scene.task.stop("nothing")
        scene.start(scene.stubborn)
        await asyncio.sleep(0.01)
        stopping = asyncio.create_task(scene.task.stop("the request"))
        await asyncio.sleep(0.05)
        assert not stopping.done()
        scene.go.set()
        await stopping
        await from_the_loop(lambda: scene.start(scene.at_once))
        await asyncio.sleep(0.01)

    assert play(scene).answers == [b"at once"]
    assert "handler of the request does not end" in caplog.text


def test_what_goes_wrong_with_an_answer_is_told() -> None:
    async def scene(scene: Scene) -> None:
        def ended(answer: bytes | None) -> None:
            raise ZeroDivisionError

        scene.task._ended = ended
        await from_the_loop(lambda: scene.start(scene.at_once))
        assert [type(error) for error in scene.errors] == [ZeroDivisionError]

    play(scene)


def test_a_time_limit_of_a_handler_is_its_own() -> None:
    async def scene(scene: Scene) -> None:
        async def limited(setup: Setup) -> bytes:
            try:
                async with asyncio.timeout(0.01):
                    await asyncio.Event().wait()
            except TimeoutError:
                return b"limited"
            return b"never"

        for _ in range(2):
            scene.start(limited)
            while scene.task.busy:
                await asyncio.sleep(0.005)
        assert scene.answers == [b"limited"] * 2

    play(scene)


def test_a_handler_is_always_in_the_same_task_and_context() -> None:
    """Whether it waits or not, and from its first step on."""
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=0)
    seen: list[tuple[object, int]] = []

    async def scene(scene: Scene) -> None:
        async def look(setup: Setup) -> bytes:
            variable.set(variable.get() + 1)
            seen.append((asyncio.current_task(), variable.get()))
            if len(seen) == 2:
                for _ in range(3):
                    await asyncio.sleep(0)
                seen.append((asyncio.current_task(), variable.get()))
            return b"seen"

        for _ in range(3):
            await from_the_loop(lambda: scene.start(look))
            while scene.task.busy:
                await asyncio.sleep(0)
        assert scene.answers == [b"seen"] * 3

    play(scene)
    assert [task for task, _ in seen] == [seen[0][0]] * 4
    assert [value for _, value in seen] == [1, 2, 2, 3]
    assert isinstance(seen[0][0], asyncio.Task)


def test_what_it_waits_for_may_fail_or_be_cancelled() -> None:
    seen: list[BaseException] = []

    async def scene(scene: Scene) -> None:
        failing: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def careful(setup: Setup) -> bytes:
            try:
                await failing
            except ZeroDivisionError as error:
                seen.append(error)
            try:
                await scene.go.wait()
            except asyncio.CancelledError as error:
                seen.append(error)
                raise
            return b"never"

        await from_the_loop(lambda: scene.start(careful))
        failing.set_exception(ZeroDivisionError())
        while not seen:
            await asyncio.sleep(0)
        await scene.task.stop("it")
        assert scene.answers == []

    play(scene)
    assert [type(error) for error in seen] == [ZeroDivisionError, asyncio.CancelledError]


def test_one_that_was_never_begun_is_dropped_quietly(recwarn: pytest.WarningsRecorder) -> None:
    async def scene(scene: Scene) -> None:
        scene.start(scene.at_once)  # while another task is running, so it has to wait for its turn
        scene.task.abandon()
        assert (scene.answers, scene.task.busy) == ([], False)

    assert play(scene).answers == []
    assert not recwarn.list


@pytest.mark.parametrize("seconds", [0, -1, 0.001])
def test_a_time_limit_that_has_passed_already_ends_what_the_handler_waits_for(seconds: float) -> None:
    async def scene(scene: Scene) -> None:
        async def limited(setup: Setup) -> bytes:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(seconds):
                    await scene.go.wait()
            return b"in time"

        await from_the_loop(lambda: scene.start(limited))
        while scene.task.busy:
            await asyncio.sleep(0)
        await from_the_loop(lambda: scene.start(scene.at_once))
        assert scene.answers == [b"in time", b"at once"]

    play(scene)


def test_one_that_is_abandoned_as_soon_as_it_waits_is_cancelled_there() -> None:
    """Before its task has taken it over."""
    seen: list[object] = []

    async def scene(scene: Scene) -> None:
        async def careful(setup: Setup) -> bytes:
            try:
                await scene.go.wait()
            except BaseException as error:
                seen.extend([type(error), asyncio.current_task()])
                raise
            return b"never"

        def start_and_abandon() -> None:
            scene.start(careful)
            seen.append(scene.task._task)
            scene.task.abandon()

        await from_the_loop(start_and_abandon)
        await scene.task.close()

    assert play(scene).answers == []
    assert seen == [seen[0], asyncio.CancelledError, seen[0]]
    assert isinstance(seen[0], asyncio.Task)


def test_one_that_cancels_its_own_task_harms_only_itself() -> None:
    async def scene(scene: Scene) -> None:
        async def rash(setup: Setup) -> bytes:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            return b"rash"

        for _ in range(2):
            await from_the_loop(lambda: scene.start(rash))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        await from_the_loop(lambda: scene.start(scene.at_once))
        while scene.task.busy:
            await asyncio.sleep(0)
        assert scene.answers == [b"rash", b"rash", b"at once"]

    play(scene)


@pytest.mark.parametrize(("answer", "said"), [(None, "it returned None"), ("text", "memoryview"), (7, "memoryview")])
def test_an_answer_that_is_no_bytes_is_refused_and_reported(
    caplog: pytest.LogCaptureFixture, answer: Any, said: str
) -> None:
    assert handler_task.concluded(Setup(0xC1, 1, 0, 0, 8), answer) is None
    assert said in caplog.text
    assert "the request is stalled" in caplog.text
