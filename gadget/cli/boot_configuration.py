"""The ``config.txt`` of a Raspberry Pi's firmware: which of its lines count on a model.

Nothing here touches the machine. The filters are those of "Conditional filters" in Raspberry Pi's documentation of
config.txt. A file is for any model: that of Raspberry Pi OS has a line for the Compute Module 5 that no other may take
for its own.
"""

from __future__ import annotations

from collections.abc import Iterator

#: The filters that a model passes, by how its name begins; the first that fits counts.
_PASSED = (
    ("Zero 2", ("pi0", "pi0w", "pi02")),
    ("Zero W", ("pi0", "pi0w")),
    ("Zero", ("pi0",)),
    ("Compute Module 5", ("pi5", "cm5")),
    ("Compute Module 4S", ("pi4", "cm4s")),
    ("Compute Module 4", ("pi4", "cm4")),
    ("Compute Module 3 Plus", ("pi3", "cm3", "cm3+")),
    ("Compute Module 3", ("pi3", "cm3")),
    ("Compute Module", ("pi1", "cm1")),
    ("500", ("pi5", "pi500")),
    ("5", ("pi5",)),
    ("400", ("pi4", "pi400")),
    ("4", ("pi4",)),
    ("3 Model A Plus", ("pi3", "pi3+")),
    ("3 Model B Plus", ("pi3", "pi3+")),
    ("3", ("pi3",)),
    ("2", ("pi2",)),
    ("Model", ("pi1",)),
)


def lines_that_count(text: str, model: str) -> Iterator[str]:
    """The lines that count on a model, without comments and blanks.

    A filter is taken to replace the one before it. What cannot be known here (a display, a serial number, the level of
    a pin) is taken not to pass.

    Args:
        text: The file's text.
        model: The model, as in the device tree: "Raspberry Pi 4 Model B Rev 1.1".
    """
    name = model.removeprefix("Raspberry Pi ")
    passed = ("all", *next((filters for begin, filters in _PASSED if name.startswith(begin)), ()))
    counts = True
    for line in (each.partition("#")[0].replace(" ", "").strip() for each in text.splitlines()):
        if line.startswith("["):
            counts = line.strip("[]").lower() in passed
        elif line and counts:
            yield line
