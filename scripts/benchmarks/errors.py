"""What goes wrong in a benchmark."""

from gadget.errors import GadgetError


class BenchmarkError(Exception):
    """It cannot be measured; the message says why."""


#: What a device can fail with, in a way that leaves the others to be measured.
FAILURES = (BenchmarkError, GadgetError)


def told(error: BaseException) -> str:
    """An error in words, with what was found out about it later."""
    return "; ".join([str(error), *getattr(error, "__notes__", [])])
