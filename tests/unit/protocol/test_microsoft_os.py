from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, strategies as st

from gadget.errors import DescriptorError
from gadget.protocol.constants import PropertyType
from gadget.protocol.microsoft_os import MicrosoftOs, Property

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)


@given(TEXTS, st.sampled_from([PropertyType.TEXT, PropertyType.EXPANDABLE_TEXT, PropertyType.LINK]))
def test_a_text_keeps_its_value(text: str, kind: PropertyType) -> None:
    built = Property.text(text, kind)
    assert (built.type, built.data, built.value) == (kind, text.encode() + b"\0", text)


@given(st.lists(TEXTS.filter(bool), max_size=5))
def test_texts_keep_their_values(texts: list[str]) -> None:
    assert Property.texts(texts).value == tuple(texts)


@given(st.binary(max_size=20))
def test_bytes_keep_their_value(data: bytes) -> None:
    assert Property.binary(data).value == data


@given(st.integers(0, 2**32 - 1), st.booleans())
def test_a_number_keeps_its_value(number: int, big_endian: bool) -> None:
    assert Property.number(number, big_endian=big_endian).value == number


def test_the_data_is_in_the_form_that_functionfs_takes() -> None:
    assert Property.number(1) == Property(PropertyType.LITTLE_ENDIAN_NUMBER, b"\1\0\0\0")
    assert Property.number(1, big_endian=True) == Property(PropertyType.BIG_ENDIAN_NUMBER, b"\0\0\0\1")
    assert Property.texts(["a", "bc"]) == Property(PropertyType.TEXTS, b"a\0bc\0\0")
    assert Property.texts([]).data == b"\0"


REFUSED: list[tuple[Callable[[], Any], str, str]] = [
    (lambda: Property.text("a\0b"), "bPropertyData", "ended by NUL, and hold no other"),
    (lambda: Property.text("\ud800"), "bPropertyData", "surrogate"),
    (lambda: Property.text("a", PropertyType.BINARY), "dwPropertyDataType", "for one text"),
    (lambda: Property(PropertyType.TEXT, b"a"), "bPropertyData", "ended by NUL"),
    (lambda: Property(PropertyType.TEXT, b""), "bPropertyData", "ended by NUL"),
    (lambda: Property(PropertyType.LINK, b"\xff\0"), "bPropertyData", "UTF-8"),
    (lambda: Property.texts(["a", ""]), "bPropertyData", "none of them empty"),
    (lambda: Property(PropertyType.TEXTS, b"a\0"), "bPropertyData", "one more NUL"),
    (lambda: Property(PropertyType.TEXTS, b""), "bPropertyData", "one more NUL"),
    (lambda: Property.number(-1), "bPropertyData", "from 0 to 4294967295"),
    (lambda: Property.number(2**32), "bPropertyData", "from 0 to 4294967295"),
    (lambda: Property(PropertyType.BIG_ENDIAN_NUMBER, b"\0\0\0"), "dwPropertyDataLength", "must be 4"),
    (lambda: MicrosoftOs("winusb"), "CompatibleID", "capital letters"),
    (lambda: MicrosoftOs("WINUSBxxx"), "CompatibleID", "at most 8"),
    (lambda: MicrosoftOs("WIN USB"), "CompatibleID", "capital letters"),
    (lambda: MicrosoftOs("RNDIS", "516-001"), "SubCompatibleID", "capital letters"),
    (lambda: MicrosoftOs("", "5162001"), "SubCompatibleID", "must be empty while"),
    (lambda: MicrosoftOs(), "CompatibleID", "or a property"),
    (lambda: MicrosoftOs(properties={"": Property.text("a")}), "bPropertyName", "one printable character"),
    (lambda: MicrosoftOs(properties={"a\0": Property.text("a")}), "bPropertyName", "one printable character"),
    (lambda: MicrosoftOs(properties={"a\n": Property.text("a")}), "bPropertyName", "one printable character"),
]


@pytest.mark.parametrize(("build", "field", "rule"), REFUSED)
def test_what_cannot_be_is_refused_with_the_reason(build: Callable[[], Any], field: str, rule: str) -> None:
    with pytest.raises(DescriptorError) as caught:
        build()
    assert caught.value.field == field
    assert rule in caught.value.rule
    assert caught.value.source


def test_what_was_given_can_change_later() -> None:
    properties = {"Label": Property.text("a")}
    built = MicrosoftOs("WINUSB", properties=properties)
    properties["Icons"] = Property.text("b")
    assert dict(built.properties) == {"Label": Property.text("a")}
