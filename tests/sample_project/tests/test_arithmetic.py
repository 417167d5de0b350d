"""No bus: runs where pytest runs."""

import os

from counter_device import Counter


def test_it_begins_at_zero():
    assert Counter().sum == 0
    assert "GADGET_VM" not in os.environ
