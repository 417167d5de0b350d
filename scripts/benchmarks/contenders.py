"""What ``scripts/bench aio`` measures: each way to read is one entry in :data:`CONTENDERS`. Data."""

from __future__ import annotations

from dataclasses import dataclass

#: What is compared with each other: AIO by its own calls, and under asyncio. The rest stands beside them.
RAW, ASYNCIO, OTHER = "raw", "asyncio", "other"


@dataclass(frozen=True)
class Contender:
    """One way to read a file.

    Attributes:
        title: What the report calls it.
        form: What it is compared with.
        reader: Its class in ``programs/reads``; of a program in C, which of its ways.
        requirement: What has to be installed for it, beside this package.
        ours: Whether it is this package.
        only_depth: The only depth that it can have; 0 for any.
    """

    title: str
    form: str
    reader: str
    requirement: str = ""
    ours: bool = False
    only_depth: int = 0

    @property
    def in_c(self) -> bool:
        """Whether it is the program in C."""
        return ":" not in self.reader


PYTHON_LIBAIO = "libaio==0.9.5"
LINUX_AIO = "linux-aio==0.4.1"
CAIO = "caio==0.12.10"

#: What every other one is compared with.
FLOOR = "c"
CONTENDERS = {
    FLOOR: Contender("C, raw calls and ring reap", OTHER, "raw"),
    "c-libaio": Contender("C, libaio", OTHER, "libaio"),
    "preadv": Contender("os.preadv", OTHER, "standard:Preadv", only_depth=1),
    "to-thread": Contender("asyncio.to_thread(os.preadv)", OTHER, "standard:ToThread"),
    "ours": Contender("gadget.aio, re-armed", RAW, "ours:Rearmed", ours=True),
    "ours-each": Contender("gadget.aio, re-armed, each looked at", RAW, "ours:RearmedEach", ours=True),
    "ours-prepared": Contender("gadget.aio, started again", RAW, "ours:Prepared", ours=True),
    "ours-convenient": Contender("gadget.aio, convenient", RAW, "ours:Convenient", ours=True),
    "ours-asyncio": Contender("gadget.aio, asyncio", ASYNCIO, "ours:Asyncio", ours=True),
    "ours-asyncio-prepared": Contender(
        "gadget.aio, asyncio, started again", ASYNCIO, "ours:PreparedAsyncio", ours=True
    ),
    "python-libaio": Contender("python-libaio 0.9.5", RAW, "peer_libaio:Libaio", PYTHON_LIBAIO),
    "linux-aio": Contender("linux-aio 0.4.1", RAW, "peer_linux_aio:LinuxAio", LINUX_AIO),
    "caio": Contender("caio 0.12.10", RAW, "peer_caio:Caio", CAIO),
    "caio-asyncio": Contender("caio, asyncio", ASYNCIO, "peer_caio:CaioAsyncio", CAIO),
    "caio-deferred": Contender("caio, asyncio, deferred", ASYNCIO, "peer_caio:CaioDeferredAsyncio", CAIO),
    "caio-uring": Contender("caio, io_uring", OTHER, "peer_caio:CaioUring", CAIO),
    "caio-uring-asyncio": Contender("caio, io_uring, asyncio", OTHER, "peer_caio:CaioUringAsyncio", CAIO),
}


def requirements(names: list[str]) -> list[str]:
    """What has to be installed for these contenders."""
    return list(dict.fromkeys(each for name in names if (each := CONTENDERS[name].requirement)))
