"""What a user of this package writes: a class that says what the device has, and does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from inspect import iscoroutinefunction
from typing import ClassVar

from gadget.errors import UsageError
from gadget.functionfs.data_endpoints import Endpoint
from gadget.functionfs.declared_endpoints import DeclaredEndpoint
from gadget.functionfs.handlers import Request, collect
from gadget.protocol.constants import ClassCode
from gadget.protocol.declaration import InterfaceDeclaration
from gadget.protocol.lifecycle import Lifecycle, LinkState


class Function:
    """One function of a USB device: an interface, its endpoints, its control requests.

    Subclass it. Endpoints are class attributes (:class:`~gadget.BulkIn`, ...), and get their addresses in the order in
    which they stand there. Methods marked with :func:`~gadget.vendor_in` and :func:`~gadget.vendor_out` answer
    control requests. :meth:`run` is the function's work.
    """

    interface_class: ClassVar[int] = ClassCode.VENDOR_SPECIFIC
    """bInterfaceClass (USB 2.0, 9.6.5)."""
    interface_subclass: ClassVar[int] = 0
    """bInterfaceSubClass."""
    interface_protocol: ClassVar[int] = 0
    """bInterfaceProtocol."""
    interface_string: ClassVar[str | None] = None
    """What iInterface names, in English."""

    _requests: ClassVar[dict[Request, str]] = {}

    def __init_subclass__(cls, **keywords: object) -> None:
        super().__init_subclass__(**keywords)
        cls._requests = collect(cls)
        if not iscoroutinefunction(cls.run):
            raise UsageError(f"{cls.__name__}.run must be an async def")
        endpoints = list(cls.declared_endpoints().values())
        if len(set(map(id, endpoints))) != len(endpoints):
            raise UsageError(f"{cls.__name__} has one endpoint object under two names: make one for each")

    async def run(self) -> None:
        """Serves one generation: started when the host enables the function, cancelled when that ends.

        A generation ends when the host unplugs, resets the device or selects something else. Transfers then raise
        :class:`~gadget.errors.DisconnectedError`, which need not be caught here. Any other error takes the
        gadget down and comes out of :meth:`Gadget.run <gadget.Gadget.run>`.
        """
        await asyncio.Event().wait()

    @property
    def link(self) -> LinkState:
        """How far the host's connection to this function has come."""
        lifecycle: Lifecycle | None = self.__dict__.get("_lifecycle")
        return lifecycle.state if lifecycle is not None else LinkState.UNBOUND

    @property
    def generation(self) -> int:
        """How often the host has enabled this function; transfers of one generation never reach another."""
        lifecycle: Lifecycle | None = self.__dict__.get("_lifecycle")
        return lifecycle.generation if lifecycle is not None else 0

    @classmethod
    def declared_endpoints(cls) -> dict[str, DeclaredEndpoint[Endpoint]]:
        """The endpoints by name, in the order of declaration, those of base classes first.

        A subclass drops one by setting its name to None.
        """
        found: dict[str, DeclaredEndpoint[Endpoint]] = {}
        for owner in reversed(cls.__mro__):
            found |= {name: value for name, value in vars(owner).items() if isinstance(value, DeclaredEndpoint)}
        return {name: value for name, value in found.items() if getattr(cls, name) is value}

    @classmethod
    def interfaces(cls) -> tuple[InterfaceDeclaration, ...]:
        """What becomes the descriptors."""
        endpoints = tuple(endpoint.declaration for endpoint in cls.declared_endpoints().values())
        return (
            InterfaceDeclaration(
                class_code=cls.interface_class,
                subclass=cls.interface_subclass,
                protocol=cls.interface_protocol,
                string=cls.interface_string,
                endpoints=endpoints,
            ),
        )

    def _endpoints(self) -> list[Endpoint]:
        return [getattr(self, name) for name in self.declared_endpoints()]

    def _handlers(self) -> dict[Request, Callable[..., Awaitable[bytes | None]]]:
        return {request: getattr(self, name) for request, name in self._requests.items()}
