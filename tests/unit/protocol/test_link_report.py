from __future__ import annotations

import pytest

from gadget.protocol.lifecycle import LinkState
from gadget.protocol.link_report import LinkReport


@pytest.mark.parametrize(
    ("state", "controller", "words"),
    [
        (LinkState.UNBOUND, "", "unbound: the gadget is bound to no controller"),
        (LinkState.BOUND, "dummy_udc.0", "bound to dummy_udc.0, and no host has selected a configuration"),
        (LinkState.ENABLED, "dummy_udc.0", "enabled: the host selected the configuration or resumed 2.5 s ago"),
        (LinkState.SUSPENDED, "fe980000.usb", "the host sleeps, or the cable was pulled"),
    ],
)
def test_it_says_how_it_knows(state: LinkState, controller: str, words: str) -> None:
    report = LinkReport(state, 2.49, controller, "configured")
    assert words in str(report)
    assert report.may_be_unplugged == (state is not LinkState.ENABLED)


def test_what_the_controller_says_is_quoted_where_it_is_no_proof() -> None:
    for state in (LinkState.BOUND, LinkState.SUSPENDED):
        assert "says 'configured'" in str(LinkReport(state, 0.0, "fe980000.usb", "configured"))
