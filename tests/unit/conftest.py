"""What the tests that need no kernel have in common."""

import tests.hypothesis_profile  # noqa: F401 - loads it
