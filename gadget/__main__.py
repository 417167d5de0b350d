"""``python -m gadget`` is the ``gadget`` command."""

from __future__ import annotations

import sys

from gadget.cli import main

sys.exit(main())
