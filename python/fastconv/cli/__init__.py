"""The command line: ``fastconv COMMAND`` or ``python -m fastconv COMMAND``.

One module a command, each with ``add(commands)`` for its arguments and ``run(args)`` for its work. What a
command needs is imported when it runs, so that ``--help`` answers at once and needs no optional package.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
import sys
from collections.abc import Sequence

from fastconv.cli import (
    bench,
    classify,
    convert,
    demo,
    info,
    optimize,
    output,
    profile,
    prune,
    quantize,
    report,
    roofline,
    run,
    shrink,
    sweep,
)
from fastconv.cli.output import BAD_INPUT, FAILED, INTERRUPTED
from fastconv.errors import FastconvError


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="fastconv", description="Fast convolutions and convolutional networks on the CPU."
    )
    parser.set_defaults(extra="all")  # what to install when a package is missing
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in (
        *(demo, classify, run, convert, quantize, optimize, shrink, prune),
        *(info, profile, report, roofline, sweep, bench),
    ):
        command.add(commands)
    return parser


def _discard_output() -> None:
    """Have what is left for standard output go nowhere: Python flushes it once more at its exit."""
    with contextlib.suppress(OSError, AttributeError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments after the program's name; those of the process when omitted.

    Returns
    -------
    int
        0, or 1 when the work failed, 2 when what was given cannot be used, 130 when interrupted.

    Examples
    --------
    >>> from fastconv.cli import main
    >>> main(["run", "missing.onnx"])
    2
    """
    given = sys.argv[1:] if argv is None else list(argv)
    for argument in given:
        if "\0" in argument:
            return output.complain(f"{argument!r}: expected an argument without NUL, got one", BAD_INPUT)
    args = build_parser().parse_args(given)
    if sys.stdout is None:
        return output.complain("standard output: expected an open one, got one that is closed", BAD_INPUT)
    try:
        code: int = args.run(args)
    except BrokenPipeError:  # the reader (`head`) has seen enough
        _discard_output()
        return FAILED
    except FastconvError as error:
        return output.complain(error, BAD_INPUT)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EBADF, errno.EIO):
            _discard_output()
        return output.complain(f"{error.filename}: {error.strerror}" if error.filename else error, BAD_INPUT)
    except ImportError as error:
        if error.name is None or error.name.startswith("fastconv"):
            raise
        return output.complain(
            f"{error.name} is not installed: pip install 'fastconv[{args.extra}]'", BAD_INPUT
        )
    except KeyboardInterrupt:
        return INTERRUPTED
    return code
