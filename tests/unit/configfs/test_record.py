from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from gadget.configfs.record import Record, default_folder
from gadget.errors import ConfigurationError


def test_where_records_lie(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/somewhere")
    expected = Path("/run/gadget") if os.access("/run", os.W_OK) else Path("/somewhere/gadget")
    assert default_folder() == expected


PATHS = st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1).map(Path)).map(tuple)


@given(
    st.builds(
        Record,
        name=st.text(),
        tree=st.just(Path("/sys/kernel/config/usb_gadget/g")),
        functions=st.lists(st.text()).map(tuple),
        mounts=PATHS,
        folders=PATHS,
        udc=st.none() | st.text(),
        pid=st.integers(0),
        started=st.integers(0),
        boot_id=st.text(),
        created_by=st.text(),
    )
)
def test_a_record_survives_being_written(record: Record) -> None:
    assert Record.from_json(record.to_json(), Path("g.json")) == record


@given(st.binary() | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps).map(str.encode))
def test_no_content_of_a_file_surprises(data: bytes) -> None:
    with pytest.raises(ConfigurationError, match="no ownership record"):
        Record.from_json(data, Path("g.json"))
