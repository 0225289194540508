"""How commands speak: results on standard output, for people or as JSON; progress on standard error."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fastconv._table import as_csv, as_markdown
from fastconv._text import printable
from fastconv.errors import ArgumentError

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
    """Add ``--json`` to a command whose result is no table."""
    parser.add_argument("--json", action="store_true", help="write JSON to standard output")
    parser.set_defaults(csv=False, markdown=False)


def add_page(parser: argparse.ArgumentParser) -> None:
    """Add ``--html`` to a command that can write its result as a page."""
    parser.add_argument(
        "--html", type=Path, metavar="PAGE.html",
        help="write a page with the picture: each layer's milliseconds against the signal that it loses",
    )  # fmt: skip


def add_format_flags(parser: argparse.ArgumentParser) -> None:
    """Add the forms in which programs and documents read a command's table, from standard output."""
    forms = parser.add_mutually_exclusive_group()
    forms.add_argument("--json", action="store_true", help="write JSON to standard output")
    forms.add_argument("--csv", action="store_true", help="write the table as CSV to standard output")
    forms.add_argument("--markdown", action="store_true", help="write the table as Markdown likewise")


def emit(args: argparse.Namespace, record: Any, rows: Sequence[Mapping[str, Any]]) -> bool:
    """Write a result in the form that was asked for: JSON the record, a table the rows.

    False, and nothing is written, where it is for people.
    """
    if args.json:
        dump(record)
    elif args.csv:
        line(as_csv(rows).rstrip("\n"))
    elif args.markdown:
        line(as_markdown(rows))
    else:
        return False
    return True


def finish(
    args: argparse.Namespace, record: Any, rows: Sequence[Mapping[str, Any]], lines: Iterable[str]
) -> int:
    """Write a result as :func:`emit` does, or else in lines for people; return the code of success."""
    if not emit(args, record, rows):
        for text in lines:
            line(text)
    return 0


def size_of(path: Path) -> str:
    """Return a file's name and size, for people."""
    return f"{path}: {path.stat().st_size / 2**20:.1f} MiB"


def note(text: str) -> None:
    """Write what a user should know of what is done, to standard error."""
    complain(f"note: {text}", 0)


PAGES = (".html", ".htm")


def check_path(name: str, path: str | os.PathLike[str] | None, suffixes: Collection[str] = ()) -> None:
    """Raise what is wrong with a file that is to be written, before anything is measured.

    ``suffixes`` are those that its format has; none: any.
    """
    if path is None:
        return
    file = Path(path)
    if suffixes and file.suffix.lower() not in suffixes:
        expected = ", ".join(suffixes)
        raise ArgumentError(f"{name}: expected a file ending in {expected}, got {str(file)!r}")
    if file.is_dir():
        raise ArgumentError(f"{name}: expected the name of a file, got the folder {str(file)!r}")
    if not file.parent.is_dir():
        raise ArgumentError(f"{name}: expected a folder that exists, got {str(file.parent)!r}")
    if not os.access(file if file.exists() else file.parent, os.W_OK):
        raise ArgumentError(f"{name}: expected a place that can be written to, got {str(file)!r}")


PICTURES = (".svg", ".png", ".pdf")  # what every build of matplotlib writes


def check_picture(name: str, path: str | os.PathLike[str] | None) -> None:
    """Raise what is wrong with a picture that is to be drawn: its place, its format, no matplotlib."""
    if path is None:
        return
    check_path(name, path, PICTURES)
    import matplotlib  # noqa: F401  # missing: say so now, not after the measurement
