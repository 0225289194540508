"""Refuses to be imported anywhere but in a process's main interpreter.

The compiled module, as numpy, keeps state of the process and takes the main interpreter's lock: elsewhere it
would wait for ever.
"""

from __future__ import annotations

import importlib


def check_interpreter() -> None:
    """Raise ImportError in an interpreter that is not the process's first."""
    for name in ("_interpreters", "_xxsubinterpreters"):  # since Python 3.13, and before
        try:
            module = importlib.import_module(name)
        except ImportError:
            continue
        if module.get_current() != module.get_main():
            raise ImportError(
                "fastconv: expected to be imported in the main interpreter of a process, got another;"
                " use threads, which run side by side, or processes"
            )
        return


check_interpreter()
