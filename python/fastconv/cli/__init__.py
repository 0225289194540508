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
from typing import Any, NoReturn

from fastconv import _core
from fastconv._text import counted
from fastconv.cli import (
    bench,
    binarize,
    classify,
    compress,
    convert,
    demo,
    explain,
    info,
    low_rank,
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

# What is installed for a module to be there, where the two have different names.
DISTRIBUTIONS = {"PIL": "pillow", "skimage": "scikit-image", "sklearn": "scikit-learn"}
EXIT_CODES = """exit codes: 0 done; 1 the work failed (a check, a worker, a reader that went away);
2 what was given cannot be used, and nothing was done; 130 interrupted"""
COMMANDS = (
    demo,
    classify,
    run,
    convert,
    quantize,
    optimize,
    shrink,
    prune,
    low_rank,
    compress,
    binarize,
    info,
    explain,
    profile,
    report,
    roofline,
    sweep,
    bench,
)


class Parser(argparse.ArgumentParser):
    """A parser whose help is plain text, which module documentation is not, and that knows near names."""

    suggest_on_error = True  # heeded from Python 3.14 on

    def __init__(self, *, description: str | None = None, **options: Any) -> None:
        super().__init__(description=(description or "").replace("``", ""), **options)

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """End the process, but not before what was written is where it belongs, or an error."""
        if sys.stdout is not None:
            sys.stdout.flush()
        super().exit(status, message)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    parser = Parser(
        prog="fastconv",
        description="Fast convolutions and convolutional networks on the CPU.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"fastconv {_core.__version__}")
    parser.set_defaults(run=None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for command in COMMANDS:
        command.add(commands)
    return parser


def _complete(parser: argparse.ArgumentParser) -> None:
    """Answer a shell that asks for completions, where argcomplete is installed, and end the process then."""
    if "_ARGCOMPLETE" in os.environ:
        with contextlib.suppress(ImportError):
            import argcomplete

            argcomplete.autocomplete(parser)


def _note_what_is_odd(args: argparse.Namespace) -> None:
    """Say where more threads than cores are asked for, or an instruction set that the processor lacks."""
    counts = getattr(args, "threads", None) or []
    most = max([counts] if isinstance(counts, int) else counts, default=0)
    cores = _core.cpu_info()["default_threads"]
    if most > cores:
        output.note(f"--threads {most}: threads take turns on {counted(cores, 'core')}")
    cap, tier = os.environ.get("FASTCONV_ISA", ""), _core.active_tier()
    if cap and cap != tier:
        output.note(f"FASTCONV_ISA={cap}: this processor has it not, {tier} is used")


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
    parser = build_parser()
    _complete(parser)
    try:
        args = parser.parse_args(given)
        if sys.stdout is None:
            return output.complain("standard output: expected an open one, got one that is closed", BAD_INPUT)
        if args.run is None:
            output.line(parser.format_help().rstrip())
            return 0
        _note_what_is_odd(args)
        code: int = args.run(args)
        sys.stdout.flush()  # not at Python's exit, where an error is told by nobody
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
        wanted = DISTRIBUTIONS.get(error.name, error.name)
        return output.complain(f"{error.name} is not installed: pip install {wanted}", BAD_INPUT)
    except KeyboardInterrupt:
        return INTERRUPTED
    return code
