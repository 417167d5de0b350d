"""Functions that this package has no class for, and FunctionFS that another program serves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, ClassVar, Self

from gadget.configfs.steps import MakeDirectory, MakeLink, Step
from gadget.errors import ConfigurationError, DescriptorError
from gadget.functionfs.access import Access
from gadget.kernel_functions.kernel_function import KernelFunction, Reader


@dataclass(frozen=True, kw_only=True)
class OtherFunction(KernelFunction):
    """A function of any name, for kernels that have more than this package knows.

    It is made in this order: folders, attributes, links.

    Attributes:
        name: What configfs calls this kind of function.
        interface_count: How many interfaces it has; None if you do not know. Functions behind it that have to know
            their interface numbers are then refused.
        folders: The folders to make in it, in this order.
        links: Symbolic links to make in it: where, and to what, both below the function's folder.

    Raises:
        ConfigurationError: The name is malformed.
    """

    name: str
    interface_count: int | None = None
    folders: tuple[str, ...] = ()
    links: tuple[tuple[str, str], ...] = ()

    def _check(self) -> None:
        if self.interface_count is not None and self.interface_count < 1:
            raise ConfigurationError(f"{self.name} with {self.interface_count} interfaces: it has one at least")

    @property
    def family(self) -> str:
        """What configfs calls this kind of function."""
        return self.name

    @property
    def interfaces(self) -> int | None:
        """How many interfaces it has; None if that is not known."""
        return self.interface_count

    def _own_steps(self) -> Iterator[Step]:
        for folder in self.folders:
            yield MakeDirectory(PurePosixPath(folder))

    def _extra_steps(self) -> Iterator[Step]:
        yield from super()._extra_steps()
        for path, target in self.links:
            yield MakeLink(PurePosixPath(path), PurePosixPath(target))

    def read_back(self) -> Self:
        """What the kernel has now for the attributes that were given."""
        place = self._up()
        found = {path: data for path in self.attributes if (data := place.read(path)) is not None}
        return type(self)(**{**_shape(self), "attributes": found})


def _shape(function: OtherFunction) -> dict[str, Any]:
    names = ("instance", "name", "interface_count", "folders", "links")
    return {name: getattr(function, name) for name in names}


@dataclass(frozen=True, kw_only=True)
class Ffs(KernelFunction):
    """A FunctionFS instance that another program serves: adb, an MTP responder, umtprd.

    It has to write its descriptors before the gadget can be bound: :meth:`Gadget.up <gadget.Gadget.up>` with
    ``bind=False``, and :meth:`Gadget.bind <gadget.Gadget.bind>` when that program is ready. Your own functions are
    :class:`~gadget.Function` objects instead.

    Attributes:
        folder: Where to mount it, by an absolute path; None leaves that to somebody else.
        access: Who may open its files there.
        interface_count: How many interfaces that program's descriptors have; None if you do not know.
    """

    FAMILY: ClassVar[str] = "ffs"

    folder: str | None = None
    access: Access | None = None
    interface_count: int | None = None

    def _check(self) -> None:
        if self.folder is not None and not self.folder.startswith("/"):
            source = "Documentation/usb/functionfs.rst"
            raise DescriptorError("folder", self.folder, "must be an absolute path", source)

    @property
    def interfaces(self) -> int | None:
        """How many interfaces it has; None if that is not known."""
        return self.interface_count

    @classmethod
    def read(cls, reader: Reader, instance: str | None = None) -> Self:
        """There is nothing to read in configfs."""
        return cls(instance=instance)
