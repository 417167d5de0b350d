"""The strings of a gadget and of its configurations: in US English alone, or in several languages at once.

Nothing here touches the kernel. The limits are those of USB and of the kernel's ``drivers/usb/gadget/configfs.c``.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import MappingProxyType

from gadget.errors import DescriptorError
from gadget.protocol.constants import LanguageId
from gadget.protocol.declaration import Text

#: What ``usb_string_copy`` of ``configfs.c`` takes, in bytes of UTF-8; the descriptor has room for 126 UTF-16 units.
MAX_STRING_BYTES = 126

_SOURCE = "USB 2.0, 9.6.7; drivers/usb/gadget/configfs.c, usb_string_copy"


def in_language(text: Text | None, language: int) -> str:
    """What a string says in one of the gadget's languages; nothing if there is none."""
    if text is None or isinstance(text, str):
        return text or ""
    return text[language]


def checked(field: str, text: Text | None) -> Text | None:
    """Checks a string by itself, and makes sure that it cannot change any more.

    Raises:
        DescriptorError: A language or a text is none that configfs takes.
    """
    if text is not None and not isinstance(text, str):
        text = MappingProxyType(dict(text))
        if not text:
            raise DescriptorError(field, {}, "must be given in one language at least", _SOURCE)
        for language in text:
            _check_language(language)
    for each in [text] if isinstance(text, str) else (text or {}).values():
        _check_characters(field, each)
    return text


def _check_language(language: int) -> None:
    """Knows the languages that the kernel takes (``usbstring.c``, usb_validate_langid)."""
    primary, variant = language & 0x3FF, language >> 10
    if not (0 < language <= 0xFFFF and variant and (1 <= primary <= 0x61 or primary == 0xFF)):
        rule = "must be a language identifier (0x0409 is US English): a language in bits 9..0, a variant of it above"
        raise DescriptorError("wLANGID", hex(language), rule, "drivers/usb/gadget/usbstring.c, usb_validate_langid")


def _check_characters(field: str, text: str) -> None:
    if any(character in "\n\0" or "\ud800" <= character <= "\udfff" for character in text):
        raise DescriptorError(field, text, "must hold no line break, no zero byte and no lone surrogate", _SOURCE)
    if (size := len(text.encode())) > MAX_STRING_BYTES:
        rule = f"is {size} bytes long in UTF-8, and the kernel takes {MAX_STRING_BYTES}"
        raise DescriptorError(field, text, rule, _SOURCE)


def common_languages(texts: Iterable[tuple[str, Text | None]]) -> tuple[int, ...]:
    """Lists the languages that the strings are given in: US English if none says any, and none without a string.

    A text that is given without a language is the same in all of them.

    Args:
        texts: The strings, each with its field's name.

    Raises:
        DescriptorError: A string lacks a language that another one has.
    """
    given = [(field, text) for field, text in texts if text is not None]
    translated = [(field, text) for field, text in given if not isinstance(text, str)]
    languages = tuple(dict.fromkeys(language for _, text in translated for language in text))
    for field, text in translated:
        if missing := [hex(language) for language in languages if language not in text]:
            rule = f"must be given in {', '.join(missing)} too: another string is"
            raise DescriptorError(field, dict(text), rule, "USB 2.0, 9.6.7")
    return languages or ((LanguageId.ENGLISH_US,) if given else ())
