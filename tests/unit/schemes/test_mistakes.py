"""Whatever somebody writes by mistake, what is wrong is said in a sentence."""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import libconf
import pytest
import tomli_w
from hypothesis import given, settings, strategies as st

from gadget.errors import GadgetError
from gadget.schemes.libusbgx import load_scheme
from gadget.schemes.own import dump_own, load_own
from gadget.schemes.rust import load_rust
from tests.unit.schemes.gadgets import everything
from tests.unit.schemes.test_libusbgx import SERIAL_AND_NETWORK
from tests.unit.schemes.test_rust import WHOLE

VALUES = st.one_of(st.integers(-5, 70000), st.text(max_size=5), st.booleans(), st.just([]), st.just({}), st.just([{}]))


def places(value: Any, before: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where something can be exchanged."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = [(*before, key) for key, _ in inside]
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return found + [place for key, each in inside for place in places(each, (*before, key))]


def exchanged(table: Any, place: tuple[Any, ...], value: Any) -> Any:
    changed = copy.deepcopy(table)
    inner = changed
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    return changed


def lists(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [lists(each) for each in value]
    return {key: lists(each) for key, each in value.items()} if isinstance(value, dict) else value


OWN = tomllib.loads(dump_own(everything()))
RUST = tomllib.loads(WHOLE)
SCHEME = lists(libconf.loads(SERIAL_AND_NETWORK))


@pytest.mark.parametrize(
    ("table", "write", "load"),
    [
        (OWN, tomli_w.dumps, load_own),
        (RUST, tomli_w.dumps, lambda text: load_rust(text, "g")),
        (SCHEME, lambda table: libconf.dumps(tuples(table)), lambda text: load_scheme(text, "g")),
    ],
    ids=["own", "rust", "gt"],
)
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_value_that_is_another(
    table: Any, write: Callable[[Any], str], load: Callable[[str], object], data: st.DataObject
) -> None:
    changed = exchanged(table, data.draw(st.sampled_from(places(table))), data.draw(VALUES))
    with suppress(libconf.ConfigSerializeError):
        text = write(changed)
        with suppress(GadgetError):
            load(text)


def tuples(value: Any) -> Any:
    """Lists of groups are tuples to libconf."""
    if isinstance(value, list):
        return tuple(tuples(each) for each in value)
    return {key: tuples(each) for key, each in value.items()} if isinstance(value, dict) else value
