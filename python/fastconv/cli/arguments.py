"""Types of arguments that several commands take."""

from __future__ import annotations

import argparse

from fastconv.errors import ArgumentError


def refuse_beside(args: argparse.Namespace, what: str, *ignored: str) -> None:
    """Refuse options that do nothing beside another; those that are not given are None, False or empty."""
    for name in ignored:
        value = getattr(args, name)
        if value is not None and value is not False and value != []:
            option = name.replace("_", "-")
            raise ArgumentError(f"--{option}: expected none beside {what}, which does not heed it")


def names(text: str) -> list[str]:
    """Read a list of names.

    >>> names("torch,ort")
    ['torch', 'ort']
    """
    return [name for name in text.split(",") if name]


def positive_int(text: str) -> int:
    """Read a whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return int(text)


def positive_ints(text: str) -> list[int]:
    """Read whole numbers of at least 1.

    >>> positive_ints("1,2")
    [1, 2]
    """
    return [positive_int(part) for part in text.split(",")]


def positive_float(text: str) -> float:
    """Read a number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text!r}")
    return value


def share(text: str) -> float:
    """Read a share from 0 up to 1, also in percent.

    >>> share("1%"), share("0.01")
    (0.01, 0.01)
    """
    percent = text.endswith("%")
    try:
        value = float(text.removesuffix("%")) / (100 if percent else 1)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"expected a share from 0 up to 1, or 100%, got {text!r}")
    return value


def numbers(text: str) -> list[float]:
    """Read finite numbers.

    >>> numbers("0.5,-1")
    [0.5, -1.0]
    """
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if not values or not all(abs(value) < float("inf") for value in values):
        raise argparse.ArgumentTypeError(f"expected numbers with commas between them, got {text!r}")
    return values
