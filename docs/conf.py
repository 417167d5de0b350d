"""How the documentation is built: python -m sphinx -W --keep-going -n docs docs/_build/html."""

from __future__ import annotations

import sys
from importlib.metadata import version as installed_version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "gadget"
copyright = "2026, the gadget authors"  # noqa: A001 - the name that Sphinx gave it
version = release = installed_version("gadget")

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.graphviz", "sphinx.ext.intersphinx", "from_code"]
graphviz_output_format = "svg"
exclude_patterns = ["_build", "figures", "sessions"]  # What lies there is included.
html_theme = "furo"
html_title = f"gadget {version}"

nitpicky = True
# No inventory is fetched, so that the build works without a network: Python's own names are not links. What is
# listed here is nothing of this package.
nitpick_ignore_regex = [
    ("py:.*", r"(asyncio|collections|concurrent|contextlib|ctypes|enum|mmap|os|pathlib|re)\..*"),
    ("py:.*", r"(subprocess|types|typing|usb1|uuid)\..*"),
    # Imported for annotations alone; and type variables.
    # What is left of an annotation in a signature that Sphinx cannot parse, for the default of one of its arguments.
    ("py:class", r"(Mapping|tuple)\[.*"),
    ("py:class", r"Buffer|Path|AbstractContextManager|Servable|File|(Iocb|Void)Pointer|.*\.T"),
    # The names that the USB specification gives to the fields of a descriptor, which are part of their annotations.
    ("py:class", r"(b|bm|bcd|dw|i|id|w)[A-Z]\w+|ContainerID"),
]
nitpick_ignore: list[tuple[str, str]] = []

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints = "signature"
autodoc_class_signature = "mixed"
napoleon_numpy_docstring = False
napoleon_use_rtype = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100
