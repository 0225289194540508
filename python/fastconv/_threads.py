"""How many threads fastconv uses: a number of the process, read by every call when it starts."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, SupportsIndex

from fastconv import _core
from fastconv.errors import DTypeError


def set_num_threads(n: SupportsIndex) -> None:
    """Set the number of threads that fastconv's functions use, for the whole process.

    The default is the smallest of the processors this process may run on, the quota of its control group,
    ``OMP_NUM_THREADS`` and ``FASTCONV_NUM_THREADS``. Results are the same, to the last bit, for any number.

    Parameters
    ----------
    n : int
        1 to 4096. Threads are started when a call first needs them.

    Raises
    ------
    ArgumentError
        If `n` is less than 1 or more than 4096.
    DTypeError
        If `n` is not an integer.

    See Also
    --------
    threads : The same for a block of code.

    Examples
    --------
    >>> import fastconv
    >>> before = fastconv.get_num_threads()
    >>> fastconv.set_num_threads(1)
    >>> fastconv.get_num_threads()
    1
    >>> fastconv.set_num_threads(before)
    """
    try:
        count = operator.index(n)
    except TypeError:
        raise DTypeError(f"n: expected an integer, got {type(n).__name__}") from None
    _core.set_num_threads(max(-1, min(count, 2**31 - 1)))  # the ends of a C int


def get_num_threads() -> int:
    """Return the number of threads that fastconv's functions use.

    Returns
    -------
    int
        The number set last, or the default.

    Examples
    --------
    >>> import fastconv
    >>> fastconv.get_num_threads() >= 1
    True
    """
    return _core.get_num_threads()


@contextmanager
def threads(n: SupportsIndex) -> Iterator[None]:
    """Use `n` threads inside a ``with`` block (or, as a decorator, inside a function).

    The number is the process's: other Python threads that call fastconv meanwhile use it too.

    Parameters
    ----------
    n : int
        1 to 4096.

    Raises
    ------
    ArgumentError
        If `n` is less than 1 or more than 4096.
    DTypeError
        If `n` is not an integer.

    Examples
    --------
    >>> import fastconv
    >>> with fastconv.threads(1):
    ...     fastconv.get_num_threads()
    1
    """
    before = get_num_threads()
    set_num_threads(n)
    try:
        yield
    finally:
        set_num_threads(before)


def _register_with_threadpoolctl() -> None:
    """Let ``threadpoolctl.threadpool_limits``, where installed, govern fastconv like the BLAS libraries."""
    try:
        import threadpoolctl
    except ImportError:
        return

    class FastconvController(threadpoolctl.LibController):  # type: ignore[misc]  # the package has no types
        user_api = "fastconv"
        internal_api = "fastconv"
        filename_prefixes = ("_core",)  # a common name: the symbols decide
        check_symbols = ("fastconv_get_num_threads", "fastconv_set_num_threads")

        def get_num_threads(self) -> Any:
            return self.dynlib.fastconv_get_num_threads()

        def set_num_threads(self, num_threads: int) -> None:
            self.dynlib.fastconv_set_num_threads(num_threads)

        def get_version(self) -> str:
            return _core.__version__

    threadpoolctl.register(FastconvController)


_register_with_threadpoolctl()
