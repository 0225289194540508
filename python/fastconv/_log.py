"""What the library tells while it works, by the standard library's logging: the logger ``fastconv``.

It is on standard error where the program has set up no logging of its own.
"""

from __future__ import annotations

import sys


def tell(text: str) -> None:
    """Log what the environment has asked for, at level INFO."""
    import logging  # in here: few are told anything

    logger = logging.getLogger("fastconv")
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.INFO)
    if logger.hasHandlers():
        logger.info("%s", text)
    elif sys.stderr is not None:
        sys.stderr.write(text + "\n")
