"""The programs that a model keeps, for all input shapes and values, on one budget.

Each is in a table of its owner: a model's by input shapes, a staged program's by the value that its second
half was made for. Here is the order in which they were last used. What their constants take is taken from the
model's budget, and given back, the oldest first, where something new would not fit beside them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Any, Protocol

from fastconv.graph.budget import Budget

MAX_KEPT = 256  # programs of one model, beside those that the run at hand is made of


class Program(Protocol):
    """What is kept: a program of one piece, or a staged one with tables of its own."""

    @property
    def held(self) -> int:
        """Bytes that are in memory for as long as the program is."""

    @property
    def tables(self) -> tuple[Table, ...]:
        """Those of a staged program: second halves by the value that each was made for, bodies of a loop."""


Table = OrderedDict[Any, Any]  # of programs, the one used last at the end


class Kept:
    """The order of use of all programs of a model; each has a number of bytes ``held``."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._order: OrderedDict[int, tuple[Table, Hashable, int]] = OrderedDict()
        # How many were used last by the run at hand: they would stay in memory if they were dropped.
        self.in_use = 0
        budget.reclaim = self.reclaim

    def __len__(self) -> int:
        return len(self._order)

    def get(self, table: Table, key: Hashable) -> Any:
        """Return a program, or None; it is the one used last then."""
        program = table.get(key)
        if program is not None:
            table.move_to_end(key)
            self._order.move_to_end(id(program))
        return program

    def add(self, table: Table, key: Hashable, program: Program, most: int) -> None:
        """Keep a program in a table of at most so many."""
        self._budget.taken += program.held  # which its own budget has checked
        self._order[id(program)] = table, key, program.held
        table[key] = program
        while len(table) > most:
            self._drop(table, next(iter(table)))
        while len(self) > MAX_KEPT + self.in_use:
            self.reclaim()

    def reclaim(self) -> bool:
        """Drop the program that was not used for the longest time, unless the run at hand needs it."""
        if len(self) <= self.in_use:
            return False
        table, key, _ = next(iter(self._order.values()))
        self._drop(table, key)
        return True

    def _drop(self, table: Table, key: Hashable) -> None:
        """Drop a program, and what it keeps itself."""
        waiting = [table.pop(key)]
        while waiting:
            program = waiting.pop()
            self._budget.taken -= self._order.pop(id(program))[2]
            for own in program.tables:
                waiting += own.values()
                own.clear()
