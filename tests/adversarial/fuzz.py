"""Trying mutants by the thousand: each is loaded and run, and nothing but a typed error may come of it.

A child of the sandbox tries a batch of them. Where it crashes, hangs or grows, each seed of the batch is
tried alone, so that what is reported is a seed. ``mutant(seed)`` makes the model again.
"""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import repeat
from queue import SimpleQueue

from adversarial.mutants import mutant, originals
from adversarial.run import load_and_run
from adversarial.sandbox import Outcome, Sandbox, peak_bytes

BATCH = 500
SECONDS = 20  # for one mutant
MAX_BYTES = 16 << 20  # what a mutant may take
MEMORY = 2 << 30  # address space of a child
GROWTH = 256 << 20  # bytes that a batch may grow by, most of it caches and the largest mutant


@dataclass(frozen=True)
class Failure:
    """A mutant that did what none may do."""

    seed: int
    what: str


@dataclass
class Report:
    """What came of mutants: how many ended how, by the name of the error or ``ran``, and what went wrong."""

    ends: Counter[str] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)

    @property
    def count(self) -> int:
        """Number of mutants."""
        return sum(self.ends.values())


def try_batch(seeds: range, corpus: str) -> tuple[Counter[str], list[Failure], int]:
    """Try mutants one after another in this process; return ends, failures, and the growth of memory."""
    from fastconv.errors import FastconvError

    load_and_run(originals("light")[0])
    before = peak_bytes()
    ends: Counter[str] = Counter()
    failures = []
    for seed in seeds:
        data = mutant(seed, corpus)
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        try:
            load_and_run(data, MAX_BYTES)
            ends["ran"] += 1
        except FastconvError as error:
            ends[type(error).__name__] += 1
        except Exception as error:
            ends["failed"] += 1
            failures.append(Failure(seed, f"{type(error).__name__}: {error}"[:500]))
    return ends, failures, peak_bytes() - before


def fuzz(
    first: int,
    count: int,
    jobs: int = 1,
    corpus: str = "light",
    progress: Callable[[Report], None] | None = None,
) -> Report:
    """Try the mutants of ``count`` seeds from the first on, in ``jobs`` processes at a time."""
    report = Report()
    batches = [range(i, min(i + BATCH, first + count)) for i in range(first, first + count, BATCH)]
    with _sandboxes(jobs, corpus) as servers, ThreadPoolExecutor(jobs) as pool:
        for ends, failures in pool.map(_try, batches, repeat(servers), repeat(corpus)):
            report.ends += ends
            report.failures += failures
            if progress is not None:
                progress(report)
    return report


class _sandboxes:
    """Servers in a queue, so that each thread takes one."""

    def __init__(self, number: int, corpus: str) -> None:
        self._corpus = corpus
        self._servers = [Sandbox() for _ in range(number)]

    def __enter__(self) -> SimpleQueue[Sandbox]:
        queue: SimpleQueue[Sandbox] = SimpleQueue()
        for server in self._servers:
            server.__enter__()
            for corpus in {"light", self._corpus}:
                server.prepare(originals, corpus)  # once, for all children
            queue.put(server)
        return queue

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            server.__exit__(None, None, None)


def _try(seeds: range, servers: SimpleQueue[Sandbox], corpus: str) -> tuple[Counter[str], list[Failure]]:
    server = servers.get()
    try:
        outcome = server.run(try_batch, seeds, corpus, seconds=SECONDS, memory=MEMORY)
        if not outcome.signal and not outcome.error:
            ends, failures, growth = outcome.value
            if growth <= GROWTH:
                return ends, failures
        return _one_by_one(server, seeds, corpus, outcome)
    finally:
        servers.put(server)


def _one_by_one(
    server: Sandbox, seeds: range, corpus: str, together: Outcome
) -> tuple[Counter[str], list[Failure]]:
    """Find out which seeds a batch failed for."""
    ends: Counter[str] = Counter()
    failures = list(_failures(server, seeds, corpus, ends))
    if not failures:
        what = together.signal or together.error or f"grew by {together.value[2] >> 20} MiB"
        failures = [Failure(seeds.start, f"the batch of {len(seeds)} from this seed on: {what}")]
    return ends, failures


def _failures(server: Sandbox, seeds: range, corpus: str, ends: Counter[str]) -> Iterator[Failure]:
    for seed in seeds:
        outcome = server.run(try_batch, range(seed, seed + 1), corpus, seconds=SECONDS, memory=MEMORY)
        if outcome.signal or outcome.error:
            ends["failed"] += 1
            yield Failure(seed, outcome.signal or f"{outcome.error}: {outcome.message}")
            continue
        found, failures, growth = outcome.value
        ends.update(found)
        yield from failures
        if growth > GROWTH:
            yield Failure(seed, f"grew by {growth >> 20} MiB")
