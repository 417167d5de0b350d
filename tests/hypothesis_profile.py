"""How hypothesis draws here. For the tiers that use it: it takes a virtual machine 15 s to be imported there."""

from hypothesis import settings

# No test asserts a time: an example that takes long on a machine with other work to do is no failure.
settings.register_profile("gadget", deadline=None)
settings.load_profile("gadget")
