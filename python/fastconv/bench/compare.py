"""Side by side: rounds of A B A B ... over the variants of a case, each in its own process, checked first.

A worker is stopped (SIGSTOP) whenever it is not its turn, so that the threads of its pool cannot spin on a
core that another one is being timed on. What counts is the ratio of two times from the same rounds; never
compare runs.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from fastconv.bench.cases import Case
from fastconv.bench.engines import variants
from fastconv.bench.expected import expected
from fastconv.roofline import Peak, machine_peak

OURS = "fastconv"
TOLERANCE = {
    "gemm": 1e-4,
    "conv": 1e-4,
    "model": 1e-3,
}  # of the largest expected value; rounding is a tenth of it
ROOF_SLACK = 1.02  # a clock that rose after the roof was measured


class BenchError(RuntimeError):
    """A benchmark cannot be trusted: a wrong result, a rate above the machine's peak, a worker that died."""


class Worker:
    """The parent's end of one variant's process, stopped except during a request."""

    def __init__(self, variant: str, threads: int) -> None:
        self.variant = variant
        count = str(threads)
        pools = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "FASTCONV_NUM_THREADS")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "fastconv.bench.worker", variant, count],
            env={**os.environ, **dict.fromkeys(pools, count)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send a request, let the process run until it has answered, and return the answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.send_signal(signal.SIGCONT)
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise BenchError(
                f"{self.variant}: expected an answer, the worker ended with {self._process.wait()}"
            )
        self._process.send_signal(signal.SIGSTOP)
        reply: dict[str, Any] = json.loads(line)
        return reply

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()


class Workers:
    """A worker for each variant, as a context manager; `with Workers(...) as workers` maps names to them."""

    def __init__(self, names: Iterable[str], threads: int) -> None:
        self._workers = {name: Worker(name, threads) for name in names}

    def __enter__(self) -> Mapping[str, Worker]:
        return self._workers

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers.values():
            worker.close()


@dataclass(frozen=True)
class Timing:
    """A variant's times of a case, in milliseconds, and its largest error over the largest expected value.

    `saved_flops` are those of the case that its `algorithm` does without.
    """

    min_ms: float
    median_ms: float
    error: float
    saved_flops: int = 0
    algorithm: str = ""


@dataclass(frozen=True)
class Result:
    """One case, timed.

    Attributes
    ----------
    case : Case
        What was timed.
    threads : int
        On how many threads.
    flops : int
        Floating-point operations, a multiply-accumulate counting as two, those with padding included.
    timings : dict of str to Timing
        By variant.
    skipped : dict of str to str
        Variants that cannot run the case, and why.
    """

    case: Case
    threads: int
    flops: int
    timings: dict[str, Timing]
    skipped: dict[str, str]

    def best(self, ours: bool) -> str | None:
        """Return our fastest variant, or the fastest peer; None where there is no peer."""
        mine = [v for v in self.timings if (v.partition("/")[0] == OURS) == ours]
        return min(mine, key=lambda v: self.timings[v].min_ms, default=None)

    def ratio(self, statistic: str = "min_ms") -> float | None:
        """Return the best peer's time over ours, by ``"min_ms"`` or ``"median_ms"``: above 1, ours wins."""
        us, peer = self.best(ours=True), self.best(ours=False)
        if us is None or peer is None:
            return None
        return float(getattr(self.timings[peer], statistic) / getattr(self.timings[us], statistic))

    def gflops(self, variant: str) -> float:
        """Return a variant's best rate of useful work in GFLOP/s."""
        return self.flops / self.timings[variant].min_ms * 1e-6

    def executed_gflops(self, variant: str) -> float:
        """Return a variant's best rate of executed work in GFLOP/s, which cannot exceed the peak."""
        timing = self.timings[variant]
        return (self.flops - timing.saved_flops) / timing.min_ms * 1e-6

    def as_dict(self, peak_gflops: float) -> dict[str, Any]:
        """Return what a results file keeps."""
        return {
            "name": self.case.name,
            "parameters": dict(self.case.parameters),
            "threads": self.threads,
            "flops": self.flops,
            "engines": {
                name: {
                    **asdict(timing),
                    "gflops": self.gflops(name),
                    "percent_of_peak": 100 * self.gflops(name) / peak_gflops,
                }
                for name, timing in self.timings.items()
            },
            "skipped": self.skipped,
            "best_peer": self.best(ours=False),
            "ratio": self.ratio(),
            "ratio_median": self.ratio("median_ms"),
        }


class Roof:
    """The highest FMA peak of a number of threads that was measured so far."""

    def __init__(self, threads: int) -> None:
        self.peak: Peak = machine_peak(threads)

    def raise_to(self, seconds: float) -> None:
        """Measure again, and keep the higher peak."""
        again = machine_peak(self.peak.threads, seconds=seconds)
        self.peak = max(self.peak, again, key=lambda p: p.gflops)

    def check(self, result: Result) -> None:
        """Raise BenchError if a variant was faster than the machine can be: the harness must be broken."""
        for name in result.timings:
            rate = result.executed_gflops(name)
            for _ in range(3):  # on a shared machine the roof itself may have been measured too low
                if rate > ROOF_SLACK * self.peak.gflops:
                    self.raise_to(0.5)
            if rate > ROOF_SLACK * self.peak.gflops:
                raise BenchError(
                    f"{result.case.name}: expected {name} below the measured FMA peak, "
                    f"{self.peak.gflops:.1f} GFLOP/s on {self.peak.threads} threads, got {rate:.1f}"
                )


def _error(got: npt.NDArray[Any], want: npt.NDArray[np.float64]) -> float:
    if got.shape != want.shape:
        return float("inf")
    return float(np.abs(got - want).max() / np.abs(want).max())


def compare_case(
    case: Case,
    workers: Mapping[str, Worker],
    roof: Roof,
    *,
    rounds: int = 12,
    seconds: float = 0.02,
) -> Result:
    """Check and time one case on every worker, in turns.

    Parameters
    ----------
    case : Case
        What to time.
    workers : mapping of str to Worker
        The variants' processes.
    roof : Roof
        The peak that no rate may exceed; a sample is added in every round.
    rounds : int, default 12
        Turns of each variant.
    seconds : float, default 0.02
        Length of a turn, during which the case runs at least once.

    Returns
    -------
    Result
        For each variant, the best call of all rounds and the median of the rounds' medians.

    Raises
    ------
    BenchError
        If a result is wrong or a rate is above the roof.
    """
    want = expected(case)
    checked: dict[str, tuple[float, int, str]] = {}  # error, saved FLOPs, algorithm
    skipped: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "output.npy"
        for name, worker in workers.items():
            reply = worker.ask(prepare=asdict(case), output=str(path))
            if "error" in reply:
                if name.partition("/")[0] == OURS:
                    raise BenchError(f"{case.name}: {name} failed: {reply['error']}")
                skipped[name] = reply["error"]
                continue
            error = _error(np.load(path), want.output)
            if not error <= TOLERANCE[case.kind]:
                raise BenchError(
                    f"{case.name}: expected {name} within {TOLERANCE[case.kind]:g} of the float64 result, "
                    f"got {error:.2g}"
                )
            checked[name] = error, 2 * reply.get("saved_macs", 0), reply.get("algorithm", "")

    turns: dict[str, list[dict[str, Any]]] = {name: [] for name in checked}
    for _ in range(rounds):
        roof.raise_to(0.01)
        for name, replies in turns.items():
            reply = workers[name].ask(time=seconds)
            if "error" in reply:
                raise BenchError(f"{case.name}: {name} failed: {reply['error']}")
            replies.append(reply)
    timings = {
        name: Timing(
            min_ms=1e3 * min(reply["min"] for reply in replies),
            median_ms=1e3 * statistics.median(reply["median"] for reply in replies),
            error=checked[name][0],
            saved_flops=checked[name][1],
            algorithm=checked[name][2],
        )
        for name, replies in turns.items()
    }
    result = Result(case, roof.peak.threads, want.flops, timings, skipped)
    roof.check(result)
    return result


def run_suite(
    cases: Sequence[Case],
    *,
    threads: Sequence[int] = (1,),
    peers: Iterable[str] = (),
    rounds: int = 12,
    seconds: float = 0.02,
    on_result: Callable[[Result, Roof], None] | None = None,
) -> tuple[list[Result], list[Peak]]:
    """Compare the cases, all of one kind, on each number of threads.

    Parameters
    ----------
    cases : sequence of Case
        What to time.
    threads : sequence of int, default (1,)
        Numbers of threads; each gets processes of its own.
    peers : iterable of str, optional
        Engines to compare with.
    rounds, seconds
        As in :func:`compare_case`.
    on_result : callable, optional
        Called after each case.

    Returns
    -------
    results : list of Result
        Thread count by thread count.
    peaks : list of Peak
        The roof of each number of threads.
    """
    results, peaks = [], []
    engines = [OURS, *peers]
    for count in threads:
        roof = Roof(count)
        with Workers(variants(cases[0].kind, count, engines), count) as workers:
            for case in cases:
                results.append(compare_case(case, workers, roof, rounds=rounds, seconds=seconds))
                if on_result is not None:
                    on_result(results[-1], roof)
        peaks.append(roof.peak)
    return results, peaks
