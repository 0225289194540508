"""Words that messages and tables share."""

from __future__ import annotations


def counted(n: int, noun: str) -> str:
    """Write a number of things.

    >>> counted(1, "thread"), counted(2, "thread")
    ('1 thread', '2 threads')
    """
    return f"{n} {noun}" + "s" * (n != 1)
