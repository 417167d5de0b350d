"""The checks that the values of a gadget share. Nothing here touches the kernel."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from gadget.errors import ConfigurationError, DescriptorError

#: MAX_NAME_LEN of ``configfs.c`` without its final zero byte, for functions and for configurations.
MAX_ENTRY_NAME = 39

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", re.ASCII)
_FUNCTION = re.compile(r"[A-Za-z0-9_]+\.[A-Za-z0-9_.-]+", re.ASCII)


def check_name(name: str) -> str:
    """Checks the name of a gadget, which becomes a folder, a file in ``/run`` and the name of a kernel driver.

    Raises:
        ConfigurationError: It is not 1 to 64 ASCII letters, digits, ``_``, ``.``, ``-``, the first no punctuation.
    """
    if not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"gadget name {name!r}: use 1 to 64 ASCII letters, digits, '_', '.', '-', the first a letter or digit"
        )
    return name


def check_function(instance: str) -> str:
    """Checks the name of a function instance, ``FAMILY.NAME`` as in ``ffs.echo``.

    Raises:
        ConfigurationError: It has another form, or more than 39 characters (``configfs.c``, function_make).
    """
    if not _FUNCTION.fullmatch(instance) or len(instance) > MAX_ENTRY_NAME:
        raise ConfigurationError(
            f"function {instance!r}: write FAMILY.NAME (ffs.echo, acm.0) in ASCII letters, digits, '_', '.' and '-', "
            f"at most {MAX_ENTRY_NAME} characters together"
        )
    return instance


def check_range(field: str, value: int, maximum: int, source: str, minimum: int = 0) -> None:
    """Checks a number.

    Raises:
        DescriptorError: It is not from ``minimum`` to ``maximum``.
    """
    if not minimum <= value <= maximum:
        raise DescriptorError(field, value, f"must be from {minimum} to {maximum:#x}", source)


def check_bcd(field: str, value: int, source: str) -> None:
    """Checks a version in binary-coded decimal.

    Raises:
        DescriptorError: It is none, or longer than four digits.
    """
    check_range(field, value, 0xFFFF, source)
    if not f"{value:x}".isdecimal():
        rule = "must be binary-coded decimal, so that each hexadecimal digit is 0 to 9 (0x0210 means 2.10)"
        raise DescriptorError(field, hex(value), rule, source)


def refuse_repeats(what: str, values: Iterable[object]) -> None:
    """Refuses what may be there once only.

    Raises:
        ConfigurationError: A value is there twice.
    """
    repeated = [str(value) for value, count in Counter(values).items() if count > 1]
    if repeated:
        raise ConfigurationError(f"{what} given more than once: {', '.join(repeated)}")
