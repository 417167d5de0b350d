"""What a user of this package writes: a class that says what the device has, and does."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from inspect import iscoroutinefunction
from typing import ClassVar

from gadget.errors import UsageError
from gadget.functionfs.declared_endpoints import DeclaredEndpoint
from gadget.functionfs.declared_interfaces import Interface, arrange, declared
from gadget.functionfs.endpoint import Endpoint
from gadget.functionfs.handlers import Handler, Request, collect
from gadget.functionfs.link import Link
from gadget.functionfs.standard_requests import StandardRequests
from gadget.protocol.constants import ClassCode, EventType, Speed
from gadget.protocol.declaration import (
    Association,
    InterfaceDeclaration,
    Text,
    function_descriptors,
    function_strings,
    translated,
)
from gadget.protocol.descriptors import Descriptor
from gadget.protocol.lifecycle import LinkState
from gadget.protocol.microsoft_os import MicrosoftOs


class Function(StandardRequests):
    """One function of a USB device: its interfaces, its endpoints, its control requests.

    Subclass it. Endpoints are class attributes (:class:`~gadget.BulkIn`, ...), and get their addresses in the order in
    which they stand there. A function of several interfaces says where each begins with :class:`~gadget.Interface`.
    Methods marked with :func:`~gadget.vendor_in`, :func:`~gadget.vendor_out` and their like answer control requests.
    :meth:`run` is the function's work.
    """

    interface_class: ClassVar[int] = ClassCode.VENDOR_SPECIFIC
    """bInterfaceClass (USB 2.0, 9.6.5) of a function's only, or first, interface, where no Interface says it."""
    interface_subclass: ClassVar[int] = 0
    """bInterfaceSubClass."""
    interface_protocol: ClassVar[int] = 0
    """bInterfaceProtocol."""
    interface_string: ClassVar[Text | None] = None
    """What iInterface names: the same in every language, or by language identifier."""
    interface_descriptors: ClassVar[Sequence[Descriptor]] = ()
    """What the interface's class wants behind the interface descriptor (of HID or CCID)."""
    association: ClassVar[Association | None] = None
    """Says that the interfaces belong together (USB 3.2, 9.6.4)."""
    microsoft_os: ClassVar[Sequence[MicrosoftOs]] = ()
    """What its interfaces tell Windows: which driver they want, and values for the registry."""
    answers_unconfigured: ClassVar[bool] = False
    """Requests for the device are answered before the host has selected a configuration, too (CONFIG0_SETUP).

    It takes a handler for such a request; those for the interface are then answered as early."""

    device_requests_shared: ClassVar[bool] = False
    """Several functions in a gadget with the very same handler of a request for the device answer it alike, so that the
    first of them may answer for all."""

    _requests: ClassVar[dict[Request, str]] = {}
    _is_served = False

    def __init_subclass__(cls, **keywords: object) -> None:
        super().__init_subclass__(**keywords)
        if not iscoroutinefunction(cls.run):
            raise UsageError(f"{cls.__name__}.run must be an async def")
        cls._requests = collect(cls, [interface for interface, _ in cls._arranged()])

    async def run(self) -> None:
        """Serves one generation: started when the host enables the function, cancelled when that ends.

        A generation ends when the host unplugs, resets the device or selects something else. Transfers then raise
        :class:`~gadget.errors.DisconnectedError`, which need not be caught here; just after that, the task is
        cancelled. Any other error takes the gadget down and comes out of :meth:`Gadget.run <gadget.Gadget.run>`.
        """
        await asyncio.Event().wait()

    def on_event(self, event: EventType) -> None:
        """Called for everything that happens to the function, in a legal order; does nothing unless overridden.

        BIND and UNBIND, ENABLE and DISABLE come in pairs, one within the other, and SUSPEND and RESUME only between the
        latter: what the kernel has coalesced is filled in. It is called before :meth:`run` is started, and after it has
        ended. What it raises takes the gadget down.
        """

    @property
    def link(self) -> LinkState:
        """How far the host's connection to this function has come."""
        return self._link.state

    @property
    def generation(self) -> int:
        """How often the host has enabled this function; transfers of one generation never reach another."""
        return self._link.generation

    async def wait_link(self, *states: LinkState) -> LinkState:
        """Waits until the link is in one of these states, and returns it."""
        return await self._link.wait(*states)

    @property
    def _link(self) -> Link:
        # Made at the first use: a subclass need not call super().__init__().
        if (link := self.__dict__.get("_own_link")) is None:
            link = self.__dict__["_own_link"] = Link()
        return link

    @classmethod
    def declared_endpoints(cls) -> dict[str, DeclaredEndpoint[Endpoint]]:
        """The endpoints by name, in the order of declaration, those of base classes first.

        A subclass drops one by setting its name to None.
        """
        return {name: value for name, value in declared(cls).items() if isinstance(value, DeclaredEndpoint)}

    @classmethod
    def _arranged(cls) -> list[tuple[Interface, list[DeclaredEndpoint[Endpoint]]]]:
        implicit = Interface(
            cls.interface_class,
            cls.interface_subclass,
            cls.interface_protocol,
            string=cls.interface_string,
            descriptors=cls.interface_descriptors,
        )
        try:
            return arrange(declared(cls), implicit)
        except UsageError as error:
            raise UsageError(f"{cls.__name__}: {error}") from None

    @classmethod
    def interfaces(cls) -> tuple[InterfaceDeclaration, ...]:
        """What becomes the descriptors."""
        return tuple(interface.declaration(endpoints) for interface, endpoints in cls._arranged())

    def descriptors(self, first_interface: int) -> Mapping[Speed, Sequence[Descriptor]]:
        """The descriptors of each speed, made from the declarations.

        Override it to give them speed by speed: full speed always among them, the interfaces numbered from
        ``first_interface`` on, the endpoints in the order in which they are declared, of the same direction and type.

        Args:
            first_interface: The number that the function's first interface has in the configuration.
        """
        speeds = (Speed.FULL, Speed.HIGH, Speed.SUPER)
        return {
            speed: function_descriptors(self.interfaces(), speed, first_interface, association=self.association)
            for speed in speeds
        }

    def strings(self) -> Mapping[int, Sequence[str]]:
        """The strings of each language, in the order in which the descriptors number them from 1."""
        return translated(function_strings(self.interfaces(), self.association))

    def _endpoints(self) -> list[Endpoint]:
        return [getattr(self, name) for name in self.declared_endpoints()]

    def _handlers(self) -> dict[Request, Handler]:
        return {request: getattr(self, name) for request, name in self._requests.items()}


# A function that only has endpoints is a Function like any other.
Function._requests = collect(Function, [])
