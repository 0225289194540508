"""Side by side: rounds of A B A B ... over the variants of a case, each in its own process, checked first.

A worker is suspended whenever it is not its turn, so that the threads of its pool cannot spin on a
core that another one is being timed on. What counts is the ratio of two times from the same rounds; never
compare runs. A variant that cannot run a case, gets it wrong, dies or hangs fails that case alone.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from fastconv import _platform
from fastconv.errors import ArgumentError
from fastconv.lab.compare.cases import Case
from fastconv.lab.compare.engines import CONTESTS, Contest, engine_of, environment, variants
from fastconv.lab.compare.expected import expected
from fastconv.lab.compare.networks import written
from fastconv.lab.machine import Roof
from fastconv.timing import percentile

OURS = "fastconv"
TOLERANCE = {
    "gemm": 1e-4,
    "conv": 1e-4,
    "xnor": 1e-4,
    "model": 1e-3,
}  # of the largest expected value; rounding is a tenth of it
# Of networks of 8 bits: one step of an early layer reaches the result, and some peers are off by many.
TOLERANCE_INT8 = 0.3
TIMEOUT = 120.0  # seconds for an answer: the longest, a network's preparation, takes about ten


class BenchError(RuntimeError):
    """A benchmark cannot be trusted: a wrong result, a worker that died or hangs."""


class Worker:
    """The parent's end of one variant's process, stopped except during a request.

    The process starts with the first request, and again with the first after it has ended.
    """

    def __init__(
        self, variant: str, threads: int, *, isa: str | None = None, timeout: float = TIMEOUT
    ) -> None:
        self.variant, self.timeout = variant, timeout
        self._command = [sys.executable, "-m", "fastconv.lab.compare.worker", variant, str(threads)]
        self._environment = environment(variant, threads, isa)
        self._process: subprocess.Popen[str] | None = None

    def _start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self._command,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send a request, let the process run until it has answered, and return the answer."""
        process = self._process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        hung = threading.Event()

        def give_up() -> None:
            hung.set()
            process.kill()

        timer = threading.Timer(self.timeout, give_up)
        timer.start()
        try:
            _platform.resume(process)
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            timer.cancel()
        if not line:
            self._process = None
            process.communicate()
            got = f"none in {self.timeout:g} s"
            if not hung.is_set():
                got = f"the worker ended with {process.returncode}"
            raise BenchError(f"{self.variant}: expected an answer, got {got}")
        _platform.suspend(process)
        reply: dict[str, Any] = json.loads(line)
        return reply

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


class Workers:
    """A worker for each variant, as a context manager; `with Workers(...) as workers` maps names to them."""

    def __init__(
        self, names: Iterable[str], threads: int, *, isa: str | None = None, timeout: float = TIMEOUT
    ) -> None:
        self._workers = {name: Worker(name, threads, isa=isa, timeout=timeout) for name in names}

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

    `saved_flops` are those of the case that its `algorithm` does without, `other_flops` those that it does in
    another arithmetic than the case's, as Winograd's products in a network of 8 bits (``int16``). Of a
    network 95 and 99 of 100 calls of all rounds take at most `p95_ms` and `p99_ms`.
    """

    min_ms: float
    median_ms: float
    error: float
    saved_flops: int = 0
    algorithm: str = ""
    other_flops: Mapping[str, int] = field(default_factory=dict)
    p95_ms: float | None = None
    p99_ms: float | None = None


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
        Useful floating-point operations: the direct method's, a multiply-accumulate counting as two, those
        with padding included.
    timings : dict of str to Timing
        By variant.
    failed : dict of str to str
        Variants that could not run the case, and why.
    """

    case: Case
    threads: int
    flops: int
    timings: dict[str, Timing]
    failed: dict[str, str]

    @property
    def is_network(self) -> bool:
        """Whether it is a network's."""
        return self.case.kind == "model"

    @property
    def is_mixed(self) -> bool:
        """Whether more peaks than f32's are its roof: a network of 8 bits, or a file with such layers."""
        ours = self.timings.get(OURS)
        return self.case.is_int8 or (ours is not None and bool(ours.other_flops))

    def best_peer(self, contest: Contest) -> str | None:
        """Return a contest's fastest peer; None where there is none."""
        peers = [v for v in self.timings if contest.includes(v)]
        return min(peers, key=lambda v: self.timings[v].min_ms, default=None)

    def ratio(self, contest: Contest | None = None, statistic: str = "min_ms") -> float | None:
        """Return the best peer's time over ours, by ``"min_ms"`` or ``"median_ms"``: above 1, ours wins."""
        contest = contest or CONTESTS[self.case.kind][0]
        peer = self.best_peer(contest)
        if peer is None or contest.ours not in self.timings:
            return None
        return float(getattr(self.timings[peer], statistic) / getattr(self.timings[contest.ours], statistic))

    def gflops(self, variant: str) -> float:
        """Return a variant's best rate of useful work in GFLOP/s."""
        return self.flops / self.timings[variant].min_ms * 1e-6

    def images_per_second(self, variant: str) -> float:
        """Return a variant's throughput of a network in its median call."""
        return float(self.case.parameters["batch"]) / self.timings[variant].median_ms * 1e3

    def executed_gflops(self, variant: str) -> float:
        """Return a variant's best rate of executed work in GFLOP/s, which cannot exceed the peak."""
        timing = self.timings[variant]
        return (self.flops - timing.saved_flops) / timing.min_ms * 1e-6

    def share(self, variant: str, roof: Roof) -> float:
        """Return the share of its best time in which a variant's executed work would be done at the peaks.

        Each part of the work is held against the peak of its arithmetic.
        """
        timing = self.timings[variant]
        rest = self.flops - timing.saved_flops - sum(timing.other_flops.values())
        parts = {**timing.other_flops, self.case.arithmetic: rest}
        return sum(flops / roof.peak_of(name).gflops for name, flops in parts.items()) / timing.min_ms * 1e-6

    def as_dict(self, roof: Roof) -> dict[str, Any]:
        """Return what a results file keeps."""
        parameters = {key: value for key, value in self.case.parameters.items() if key != "folder"}
        return {
            "name": self.case.name,
            "parameters": parameters,
            "threads": self.threads,
            "flops": self.flops,
            "engines": {
                name: {
                    **asdict(timing),
                    **({"images_per_second": self.images_per_second(name)} if self.is_network else {}),
                    "gflops": self.gflops(name),
                    "executed_gflops": self.executed_gflops(name),
                    "percent_of_peak": 100 * self.share(name, roof),
                }
                for name, timing in self.timings.items()
            },
            "failed": self.failed,
            "contests": {
                contest.name: {
                    "ours": contest.ours,
                    "best_peer": self.best_peer(contest),
                    "ratio": self.ratio(contest),
                    "ratio_median": self.ratio(contest, "median_ms"),
                }
                for contest in CONTESTS[self.case.kind]
            },
        }


def check_rates(result: Result, roof: Roof) -> None:
    """Raise RoofError if a variant was faster than the machine can be: the harness must be broken.

    Of networks of 8 bits that is ours alone: others have instructions (those of AMX) whose peak is not known.
    """
    if result.is_mixed:
        if OURS in result.timings:
            arithmetic = result.case.arithmetic
            rate = result.share(OURS, roof) * roof.peak_of(arithmetic).gflops
            roof.hold(f"{result.case.name}: {OURS}", rate, arithmetic)
        return
    for name, timing in result.timings.items():
        arithmetic = next(iter(timing.other_flops), result.case.arithmetic)
        if engine_of(name).countable:
            roof.hold(f"{result.case.name}: {name}", result.executed_gflops(name), arithmetic)


def _error(got: npt.NDArray[Any], want: npt.NDArray[np.float64]) -> float:
    if got.shape != want.shape:
        return float("inf")
    return float(np.abs(got - want).max() / np.abs(want).max())


def _answer(worker: Worker, **request: Any) -> dict[str, Any]:
    """Ask a worker; that it died or hangs is an answer too."""
    try:
        return worker.ask(**request)
    except BenchError as error:
        return {"error": str(error)}


def compare_case(
    case: Case,
    workers: Mapping[str, Worker],
    roof: Roof,
    *,
    rounds: int = 10,
    seconds: float = 0.01,
    warmup: int = 1,
) -> Result:
    """Check and time one case on every worker, in turns.

    Parameters
    ----------
    case : Case
        What to time.
    workers : mapping of str to Worker
        The variants' processes.
    roof : Roof
        The peaks that no rate may exceed; a sample of the case's is added in every round.
    rounds : int, default 10
        Turns of each variant.
    seconds : float, default 0.01
        Length of a turn, during which the case runs at least once.
    warmup : int, default 1
        Untimed runs before each turn.

    Returns
    -------
    Result
        For each variant, the best call of all rounds and the median of the rounds' medians. A wrong result
        is not timed.

    Raises
    ------
    RoofError
        If a rate is above the roof.
    """
    want = expected(case)
    timings: dict[str, Timing] = {}
    failed: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "output.npy"
        for name, worker in workers.items():
            reply = _answer(worker, prepare=asdict(case), output=str(path))
            if "error" in reply:
                failed[name] = reply["error"]
                continue
            error = _error(np.load(path), want.output)
            allowed = TOLERANCE_INT8 if case.is_int8 else TOLERANCE[case.kind]
            if not error <= allowed:
                failed[name] = f"wrong: expected at most {allowed:g} from float64, got {error:.2g}"
                continue
            algorithm = reply.get("algorithm", "")
            saved = 2 * reply["saved_macs"] if algorithm or case.kind == "model" else want.padding_flops
            others = {part: 2 * macs for part, macs in reply.get("other_macs", {}).items()}
            timings[name] = Timing(0.0, 0.0, error, saved, algorithm, others)

    turns: dict[str, list[dict[str, Any]]] = {name: [] for name in timings}
    for _ in range(rounds):
        roof.raise_to(0.005, case.arithmetic)
        for name, replies in list(turns.items()):
            reply = _answer(workers[name], time=seconds, warmup=warmup)
            if "error" in reply:
                failed[name] = reply["error"]
                del turns[name], timings[name]
            else:
                replies.append(reply)
    for name, replies in turns.items():
        calls = sorted(1e3 * taken for reply in replies for taken in reply.get("times", ()))
        timings[name] = replace(
            timings[name],
            p95_ms=percentile(calls, 0.95) if calls else None,
            p99_ms=percentile(calls, 0.99) if calls else None,
            min_ms=1e3 * min(reply["min"] for reply in replies),
            median_ms=1e3 * statistics.median(reply["median"] for reply in replies),
        )
    result = Result(case, roof.peak.threads, want.flops, timings, failed)
    check_rates(result, roof)
    return result


class Suite:
    """Everything that the cases of one kind on one number of threads share, as a context manager.

    Parameters
    ----------
    kind : str
        ``"gemm"``, ``"conv"``, ``"xnor"`` or ``"model"``.
    threads : int, default 1
        Of every engine.
    peers : iterable of str, optional
        Engines to compare with.
    isa : str, optional
        ``"avx2"`` caps every engine, and the roof.
    rounds, seconds, warmup
        As in :func:`compare_case`.
    timeout : float
        Seconds that a worker has for an answer.

    Examples
    --------
    >>> from fastconv.bench import find_cases
    >>> with Suite("gemm", rounds=1) as suite:
    ...     suite.compare(find_cases("gemm", ["64x64x64"])[0]).failed
    {}
    """

    def __init__(
        self,
        kind: str,
        *,
        threads: int = 1,
        peers: Iterable[str] = (),
        isa: str | None = None,
        rounds: int = 10,
        seconds: float = 0.01,
        warmup: int = 1,
        timeout: float = TIMEOUT,
    ) -> None:
        names = variants(kind, threads, [OURS, *peers])
        self._workers = Workers(names, threads, isa=isa, timeout=timeout)
        self._options: dict[str, Any] = {"rounds": rounds, "seconds": seconds, "warmup": warmup}
        self._folder = tempfile.TemporaryDirectory(prefix="fastconv-bench-")
        self.roof = Roof(threads, isa)

    def __enter__(self) -> Suite:
        self._running = self._workers.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._workers.__exit__(*error)
        self._folder.cleanup()

    def compare(self, case: Case) -> Result:
        """Compare one case; one that cannot even be written fails on every engine."""
        if case.kind == "model":
            try:
                case = written(case, Path(self._folder.name))
            except ArgumentError as error:
                return Result(case, self.roof.peak.threads, 0, {}, dict.fromkeys(self._running, str(error)))
        return compare_case(case, self._running, self.roof, **self._options)
