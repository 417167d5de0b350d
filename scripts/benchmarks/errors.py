"""What goes wrong in a benchmark."""


class BenchmarkError(Exception):
    """It cannot be measured; the message says why."""
