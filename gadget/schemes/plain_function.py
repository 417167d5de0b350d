"""A function of the kernel as what stands in its folder: the form that all files of gadgets share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath

from gadget.configfs.checks import check_function
from gadget.configfs.steps import MakeDirectory, MakeLink, Step, WriteAttribute
from gadget.errors import ConfigurationError, UsageError
from gadget.kernel_functions import FAMILIES, KernelFunction, OtherFunction


@dataclass(frozen=True, slots=True)
class PlainFunction:
    """A function: folders are made first, then attributes are written, and links come last.

    Attributes:
        instance: Its folder below ``functions``: ``acm.0``.
        attributes: What is written, by path below that folder, in this order.
        folders: The folders that are made in there.
        links: The links that are made: where, and to what, both below the function's folder.
    """

    instance: str
    attributes: Mapping[str, bytes] = field(default_factory=dict)
    folders: Sequence[str] = ()
    links: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_function(self.instance)

    @property
    def family(self) -> str:
        """What kind of function it is."""
        return self.instance.partition(".")[0]

    @classmethod
    def of(cls, instance: str, steps: Iterable[Step]) -> PlainFunction:
        """What steps make, whatever class they are from."""
        attributes: dict[str, bytes] = {}
        folders: list[str] = []
        links: dict[str, str] = {}
        for step in steps:
            match step:
                case WriteAttribute(path, value):
                    attributes[str(path)] = value
                case MakeDirectory(path):
                    folders.append(str(path))
                case MakeLink(path, target):
                    links[str(path)] = str(target)
        return cls(instance, attributes, tuple(folders), links)

    def function(self) -> KernelFunction:
        """The function as an object of its class, which knows its rules.

        What the class does not know is written all the same. A function that its class would make otherwise than it
        stands here (with folders or links of its own, say) is an :class:`~gadget.kernel_functions.OtherFunction`.

        Raises:
            DescriptorError: A value breaks a rule of its class.
            UsageError: A value cannot be read.
        """
        family, _, name = self.instance.partition(".")
        if (known := FAMILIES.get(family)) is None:
            return self.as_it_is()
        try:
            read = known.read(_Tree(self), name)
        except UsageError:
            raise
        except ValueError as error:
            raise UsageError(f"function {self.instance} has a value that is none: {error}") from error
        made = PlainFunction.of(self.instance, read.steps())
        if not (set(self.folders) <= set(made.folders) and self.links.items() <= made.links.items()):
            return self.as_it_is()
        more = {path: value for path, value in self.attributes.items() if path not in made.attributes}
        for path, value in more.items():
            # What reads as nothing, as what the kernel itself makes of an attribute does, is no value to write.
            if (attribute := known.attribute_at(path)) is not None and value.strip():
                attribute.check(value.decode(errors="replace").rstrip("\n"))
        return replace(read, attributes=more) if more else read

    def as_it_is(self) -> OtherFunction:
        """The function as it stands here, whatever its class says."""
        return OtherFunction(
            name=self.family,
            instance=self.instance.partition(".")[2],
            attributes=dict(self.attributes),
            folders=tuple(self.folders),
            links=tuple(self.links.items()),
        )


class _Tree:
    """Stands in for the function's folder: there is what is written, and the folders that this takes."""

    def __init__(self, plain: PlainFunction) -> None:
        self._attributes = plain.attributes
        self._folders = {str(parent) for path in plain.attributes for parent in PurePosixPath(path).parents}
        self._folders |= {str(each) for path in plain.folders for each in (path, *PurePosixPath(path).parents)}

    def read(self, attribute: str) -> bytes | None:
        """What is written; an attribute that is left to the kernel is not there."""
        found = self._attributes.get(attribute)
        # A disk without a medium has an empty attribute, by which its folder is told from one that is not there.
        folder, _, name = attribute.rpartition("/")
        return b"" if found is None and name == "file" and folder in self._folders else found

    def folders(self, folder: str) -> list[str]:
        """The folders in a folder."""
        inside = (PurePosixPath(each) for each in self._folders)
        return sorted(each.name for each in inside if each.parent == PurePosixPath(folder) and each.name)


def as_text(value: bytes) -> str | None:
    """What an attribute says, if that is text that can be told from other values; None for bytes."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return None
    return text if text.removesuffix("\n").isprintable() or text == "" else None


def check_known(table: Mapping[str, object], known: Iterable[str], where: str) -> None:
    """Refuses what nobody would look at, which is a mistake in spelling most of the time.

    Raises:
        ConfigurationError: There is such a key.
    """
    names = list(known)
    if unknown := [key for key in table if key not in names]:
        raise ConfigurationError(f"{where}: {', '.join(unknown)} is not known here; these are: {', '.join(names)}")


@contextmanager
def read_as_gadget() -> Iterator[None]:
    """Says of a value that is missing, or that is of another kind than it should be, that it is so.

    Raises:
        ConfigurationError: There is such a value.
    """
    try:
        yield
    except UsageError:
        raise
    except KeyError as error:
        raise ConfigurationError(f"{error.args[0]} is missing") from error
    except (TypeError, AttributeError, ValueError, OverflowError) as error:
        raise ConfigurationError(f"a value is of the wrong kind: {error}") from error
