"""A function served on a FunctionFS that somebody else has mounted, with no rights but to its files."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from gadget.aio import AsyncContext
from gadget.aio.table import LINGER
from gadget.errors import UsageError
from gadget.functionfs.composite import Composite
from gadget.functionfs.function import Function
from gadget.functionfs.instance import served
from gadget.functionfs.routing import route
from gadget.serving import watched


@asynccontextmanager
async def serve_mounted(
    function: Function,
    folder: Path | str,
    *,
    first_interface: int = 0,
    microsoft_os: bool = False,
    linger: float = LINGER,
) -> AsyncIterator[Function]:
    """Serves a function inside this scope; its descriptors are written when it begins.

    Whoever made the gadget binds it to a controller after that, and unbinds it before the scope ends; otherwise the
    kernel does so when the scope ends.

    A function that fails ends the scope: its body is cancelled, and the error comes out of it.

    Args:
        function: What is served.
        folder: Where the FunctionFS is mounted. Its files have to belong to this user (:class:`~gadget.Access`).
        first_interface: The number that its first interface has in the configuration, if that is not 0.
        microsoft_os: The gadget has Microsoft OS descriptors switched on.
        linger: As for :class:`~gadget.Gadget`.

    Raises:
        UsageError: There is no FunctionFS; or ``linger`` is negative.
        NotPermittedError: Its files belong to another user.
        DescriptorError: FunctionFS does not take its descriptors.
        KernelError: Anything else that the kernel refused.
    """
    path = Path(folder)
    if not (path / "ep0").exists():
        raise UsageError(f"{path} is no FunctionFS that this user may look into: there is no ep0")
    (way,) = route([function])
    depths = [endpoint.depth for endpoint in function.declared_endpoints().values()]
    async with AsyncExitStack() as stack:
        composite = Composite(await stack.enter_async_context(AsyncContext(max(1, sum(depths)))))
        composite.context.context.linger = linger
        scope = served(function, path, composite, first_interface=first_interface, route=way, microsoft_os=microsoft_os)
        generations = await stack.enter_async_context(scope)
        stack.callback(setattr, composite, "closing", True)
        async with watched([generations.failed]):
            yield function
