"""A progress bar for what takes long, where somebody watches."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Any


def track(items: Sequence[Any], description: str) -> Iterator[Any]:
    """Iterate over items with a progress bar, where standard error is a terminal and rich is installed."""
    if sys.stderr is not None and sys.stderr.isatty():
        try:
            from rich.console import Console
            from rich.progress import Progress
        except ImportError:
            pass
        else:
            visible = sys.stdout is not None and sys.stdout.isatty()
            with Progress(console=Console(stderr=True), transient=True, redirect_stdout=visible) as progress:
                yield from progress.track(items, description=description)
            return
    yield from items
