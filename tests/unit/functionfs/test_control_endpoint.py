from __future__ import annotations

import pytest

from gadget.errors import MissingModuleError
from gadget.functionfs.control_endpoint import require_eventfd


@pytest.mark.parametrize("release", ["5.16.0", "5.17-rc1", "6.1.0-32-arm64", "6.12.25+rpt-rpi-v8", "10.0"])
def test_kernels_whose_events_work(release: str) -> None:
    require_eventfd(release)


@pytest.mark.parametrize("release", ["5.4.0", "5.15.92-v8+", "4.19.0-27-amd64", "3.10"])
def test_older_kernels_are_refused(release: str) -> None:
    with pytest.raises(MissingModuleError, match=f"Linux {release[0]}.*too old.*5.16"):
        require_eventfd(release)
