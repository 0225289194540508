"""How many threads fastconv uses: a number of the process, or of a context, read by a call when it starts."""

from __future__ import annotations

import importlib.util
import operator
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any, SupportsIndex

from fastconv import _core
from fastconv.errors import ArgumentError, DTypeError

_of_context: ContextVar[int] = ContextVar("fastconv.threads")
_core.set_threads_variable(_of_context)  # the compiled functions look it up


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
    _core.set_num_threads(as_count("n", n))


def as_count(name: str, n: SupportsIndex) -> int:
    """Return a number of threads that the argument `name` gives, or raise what is wrong with it."""
    try:
        count = max(-1, min(operator.index(n), 2**31 - 1))  # more digits than Python writes are too many
    except Exception:  # TypeError, or an object's own mistake
        raise DTypeError(f"{name}: expected an integer, got {type(n).__name__}") from None
    if not 1 <= count <= _core.MAX_THREADS:
        raise ArgumentError(f"{name}: expected 1 to {_core.MAX_THREADS} threads, got {count}")
    return count


def get_num_threads() -> int:
    """Return the number of threads that fastconv's functions use here.

    Returns
    -------
    int
        That of the innermost :func:`threads` block around the caller, or else the process's: the number set
        last, or the default.

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

    The number belongs to the running context, as in :mod:`contextvars`: other Python threads and tasks keep
    theirs, whatever the order in which blocks begin and end, and so do threads that are started inside the
    block (``asyncio.to_thread`` and tasks take it along). It holds whatever :func:`set_num_threads` says.

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
    token = _of_context.set(as_count("n", n))
    try:
        yield
    finally:
        _of_context.reset(token)


_NONE: AbstractContextManager[None] = nullcontext()


def threads_of(count: int | None) -> AbstractContextManager[None]:
    """Use the number that an object was given (None: none), where no :func:`threads` block says another."""
    return _NONE if count is None or _of_context.get(None) is not None else threads(count)


def _register(threadpoolctl: Any) -> None:
    """Let ``threadpoolctl.threadpool_limits`` govern fastconv like the BLAS libraries."""

    class FastconvController(threadpoolctl.LibController):  # type: ignore[misc]  # the package has no types
        user_api = "fastconv"
        internal_api = "fastconv"
        filename_prefixes = ("_core",)  # a common name: the symbols decide
        check_symbols = ("fastconv_get_num_threads", "fastconv_set_num_threads")

        # Inside a `threads` block the limit is the block's: the innermost of the two holds.
        def get_num_threads(self) -> int:
            return get_num_threads()

        def set_num_threads(self, num_threads: int) -> None:
            if _of_context.get(None) is None:
                self.dynlib.fastconv_set_num_threads(num_threads)
            else:
                _of_context.set(as_count("num_threads", num_threads))

        def get_version(self) -> str:
            return _core.__version__

    threadpoolctl.register(FastconvController)


class _WhenImported:
    """A finder of modules that registers with threadpoolctl once somebody imports it.

    To import it here would take as long as half of fastconv, for the few who use it.
    """

    def find_spec(self, name: str, _path: Any = None, _target: Any = None) -> Any:
        """Return threadpoolctl's, whose execution ends with our registration; of others nothing."""
        if name != "threadpoolctl" or self not in sys.meta_path:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module: Any) -> None:
                execute(module)
                _register(module)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


if "threadpoolctl" in sys.modules:
    if sys.modules["threadpoolctl"] is not None:
        _register(sys.modules["threadpoolctl"])
else:
    sys.meta_path.insert(0, _WhenImported())
