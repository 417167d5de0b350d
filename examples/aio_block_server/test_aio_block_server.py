import asyncio
import errno
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from client import BLOCK, READ, REQUEST, WRITE, Blocks
from server import BlockServer

from gadget.aio import AsyncContext, Operation
from gadget.aio.operation import File

PROGRAM = Path(__file__).parent / "server.py"
BLOCKS = 1000


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    (tmp_path / "disk").write_bytes(b"".join(number.to_bytes(4) * (BLOCK // 4) for number in range(BLOCKS)))
    return tmp_path / "disk"


@pytest.fixture
def port(disk: Path) -> Iterator[int]:
    with subprocess.Popen([sys.executable, PROGRAM, disk], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield int(server.stdout.readline().removeprefix("port "))
        server.terminate()


def test_fifty_clients_each_with_blocks_of_its_own(port: int, disk: Path) -> None:
    async def client(number: int) -> None:
        blocks = await Blocks.connect(port)
        mine = list(range(number, BLOCKS, 50))
        for block in random.sample(mine, 10):
            assert await blocks.read(block) == block.to_bytes(4) * (BLOCK // 4)
            await blocks.write(block, data := os.urandom(BLOCK))
            assert await blocks.read(block) == data
        await blocks.flush()
        await blocks.close()

    async def main() -> None:
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            for number in range(50):
                group.create_task(client(number))

    asyncio.run(main())
    assert disk.stat().st_size == BLOCKS * BLOCK


def test_several_blocks_and_what_is_not_there(port: int) -> None:
    async def main() -> None:
        async with asyncio.timeout(60):
            blocks = await Blocks.connect(port)
            assert await blocks.read(7, 3) == b"".join(number.to_bytes(4) * (BLOCK // 4) for number in (7, 8, 9))
            with pytest.raises(OSError, match="No such device or address"):
                await blocks.read(BLOCKS)
            assert (await blocks.read(1))[:4] == (1).to_bytes(4), "it goes on"
            with pytest.raises(OSError, match="Invalid argument") as caught:
                await blocks.read(0, 65)
            assert caught.value.errno == errno.EINVAL
            await blocks.close()

    asyncio.run(main())


class Slow(AsyncContext):
    """Its reads do not end: they have the buffer."""

    async def read(self, file: File, buffer: object, offset: int = 0, *, flags: int = 0, priority: int = 0) -> int:
        operation = Operation.read(file, buffer)
        await asyncio.Event().wait()
        return operation.release()


@pytest.mark.parametrize("request_", [b"", REQUEST.pack(READ, 0, 2, 5), REQUEST.pack(WRITE, 0, 2, 5) + b"some"])
def test_a_client_that_is_cancelled(disk: Path, request_: bytes) -> None:
    async def main() -> None:
        served: list[asyncio.Task[None]] = []
        with disk.open("rb") as file:
            async with Slow(1) as context:
                blocks = BlockServer(context, file.fileno())
                server = await asyncio.start_server(
                    lambda *streams: served.append(asyncio.create_task(blocks.serve(*streams))), "localhost", 0
                )
                _, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
                writer.write(request_)
                await writer.drain()
                await asyncio.sleep(0.1)
                served[0].cancel()
                with pytest.raises(asyncio.CancelledError):
                    await served[0]
                writer.close()
                server.close()

    asyncio.run(main())
