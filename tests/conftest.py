"""What all tiers have in common."""

from __future__ import annotations

from hypothesis import settings

# No test asserts a time: an example that takes long on a machine with other work to do is no failure.
settings.register_profile("gadget", deadline=None)
settings.load_profile("gadget")
