from __future__ import annotations

import sys

from fastconv.lab import compare
from fastconv.lab.compare import *  # noqa: F403

__all__ = compare.__all__

if __name__ == "__main__":
    from fastconv.cli import main

    sys.exit(main(["bench", *sys.argv[1:]]))
