from __future__ import annotations

import pytest

from gadget import Access
from gadget.errors import DescriptorError


def test_what_mount_is_told() -> None:
    assert Access().options == ""
    assert Access(uid=1000, gid=100).options == "uid=1000,gid=100"
    assert Access(mode=0o660).options == "fmode=0660,rmode=0550"
    assert Access(uid=0, mode=0o600).options == "uid=0,fmode=0600,rmode=0500"


@pytest.mark.parametrize("values", [{"uid": -1}, {"gid": 2**32 - 1}, {"mode": 0o777}, {"mode": -1}])
def test_what_cannot_be(values: dict[str, int]) -> None:
    with pytest.raises(DescriptorError) as caught:
        Access(**values)
    assert caught.value.field in values
