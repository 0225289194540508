"""How much memory a model may take, counted before it is taken.

A model of a kilobyte can ask for any amount: a constant of 2^40 zeros, an image resized by 10^6. What it
needs beyond its own size is held against one number: constants that are computed while it is loaded or
planned, packed weights, what the programs that are kept hold, the arena, what numpy takes for a while, and
the outputs of a run.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterable
from typing import Any

import numpy as np

from fastconv.errors import MemoryLimitError

Array = np.ndarray[Any, Any]

MAX_BYTES = 2 << 30  # by default


class Budget:
    """Bytes that may be taken, beyond the ``own`` ones of a model; None: any number.

    A fork takes from what its parent has left, and gives it back when it is dropped. Where a budget is short,
    ``reclaim`` is asked to free something, and says whether it did.
    """

    def __init__(self, max_bytes: int | None = None, own: int = 0, parent: Budget | None = None) -> None:
        self.max_bytes, self.own = max_bytes, own
        self.taken = 0  # by this one alone
        self.reclaim: Callable[[], bool] | None = None
        self._parent = parent

    @property
    def spent(self) -> int:
        """Bytes that have been taken, by the parents too."""
        return self.taken + (0 if self._parent is None else self._parent.spent)

    def fork(self) -> Budget:
        """Return a budget of what is left, for something that is given back as a whole: a program."""
        return Budget(self.max_bytes, self.own, self)

    def room(self) -> int:
        """Return how many bytes are left."""
        return sys.maxsize if self.max_bytes is None else self.max_bytes + self.own - self.spent

    def allows(self, nbytes: int) -> bool:
        """Whether so many bytes may be taken."""
        return nbytes <= self.room()

    def check(self, nbytes: int) -> None:
        """Raise MemoryLimitError unless so many bytes may be taken for a while."""
        while not self.allows(nbytes):
            if not self._reclaimed():
                raise MemoryLimitError(
                    f"expected at most max_bytes = {self.max_bytes} bytes beyond the model's own {self.own},"
                    f" got {nbytes} beside {self.spent}"
                )

    def spend(self, nbytes: int) -> None:
        """Take so many bytes for good, or raise MemoryLimitError."""
        self.check(nbytes)
        self.taken += nbytes

    def _reclaimed(self) -> bool:
        if self.reclaim is not None:
            return self.reclaim()
        return self._parent is not None and self._parent._reclaimed()


def held_bytes(arrays: Iterable[Array]) -> int:
    """Return the bytes of memory that arrays occupy: what is repeated or shared counts once.

    >>> held_bytes([np.broadcast_to(np.float32(1), (1000, 1000)), np.zeros(3, np.int64)])
    28
    """
    found: dict[int, int] = {}
    for array in arrays:
        size = array.itemsize
        for n, stride in zip(array.shape, array.strides, strict=True):
            size *= n if stride else min(n, 1)
        place = array.__array_interface__["data"][0]
        found[place] = max(size, found.get(place, 0))
    return sum(found.values())


def new_bytes(arrays: Iterable[Array], inputs: Collection[Array]) -> int:
    """Return the bytes of memory that results occupy which are not views of what they were made of."""
    return held_bytes(a for a in arrays if not any(np.may_share_memory(a, b) for b in inputs))
