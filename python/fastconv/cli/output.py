"""How commands speak: results on standard output, for people or as JSON; progress on standard error."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any

FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130  # exit codes; 0 is success, 2 also argparse's for bad usage


def line(text: str = "") -> None:
    """Write a line to standard output, at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def dump(record: Any) -> None:
    """Write a record to standard output as JSON."""
    line(json.dumps(record, indent=2))


def complain(problem: object, code: int) -> int:
    """Write a problem to standard error as one line, and return the exit code."""
    sys.stderr.write("fastconv: " + " ".join(str(problem).split()) + "\n")
    return code


def add_json_flag(parser: argparse.ArgumentParser) -> None:
    """Add ``--json`` to a command."""
    parser.add_argument("--json", action="store_true", help="write JSON to standard output")


def track(items: Sequence[Any], description: str) -> Iterator[Any]:
    """Iterate over items with a progress bar, where standard error is a terminal and rich is installed."""
    if sys.stderr.isatty():
        try:
            from rich.console import Console
            from rich.progress import Progress
        except ImportError:
            pass
        else:
            with Progress(
                console=Console(stderr=True), transient=True, redirect_stdout=sys.stdout.isatty()
            ) as progress:
                yield from progress.track(items, description=description)
            return
    yield from items
