"""How commands speak: results on standard output, for people or as JSON; progress on standard error."""

from __future__ import annotations

import argparse
import json
import math
import sys
from typing import Any

from fastconv._text import printable

FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130  # exit codes; 0 is success, 2 also argparse's for bad usage


def line(text: str = "") -> None:
    """Write a line to standard output, at once; names of models are in it, and a terminal obeys escapes."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    text = printable(text).encode(encoding, "backslashreplace").decode(encoding)
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def dump(record: Any) -> None:
    """Write a record to standard output as JSON."""
    line(as_json(record, indent=2))


def as_json(record: Any, indent: int) -> str:
    """Return a record as JSON, which has no infinities and no NaN: they are null."""
    return json.dumps(_finite(record), indent=indent, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def complain(problem: object, code: int) -> int:
    """Write a problem to standard error as one line, and return the exit code."""
    if sys.stderr is not None:
        text = printable(" ".join(str(problem).split())).encode("ascii", "backslashreplace").decode()
        sys.stderr.write(f"fastconv: {text}\n")
    return code


def add_json_flag(parser: argparse.ArgumentParser) -> None:
    """Add ``--json`` to a command."""
    parser.add_argument("--json", action="store_true", help="write JSON to standard output")
