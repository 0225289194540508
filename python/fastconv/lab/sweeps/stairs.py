"""The staircase: one matrix product from three plain loops to ``gemm``, an idea a step."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from fastconv import _core
from fastconv._threads import threads as threads_of_process
from fastconv.errors import ArgumentError
from fastconv.lab.compare.cases import Case, gemm_arrays
from fastconv.lab.compare.suite import BenchError, Worker
from fastconv.lab.machine import Roof
from fastconv.lab.machine.setting import Setting, setting
from fastconv.lab.sweeps.checked import Array, Expected, checked_product
from fastconv.lab.timing import Timer, in_turns, timer
from fastconv.testing.shapes import GemmShape
from fastconv.timing import CallTimes

GEMM, PREPACKED, NUMPY = "gemm", "gemm, B prepacked", "numpy"
_IDEAS = {
    GEMM: "block sizes of this machine, packing only where it pays, prefetches",
    PREPACKED: "B is packed before, as the weights of a convolution are; K is not split",
    NUMPY: "numpy.matmul, for comparison",
}


@dataclass(frozen=True)
class Step:
    """A way to compute the product: what it adds to the one before, and how fast it is."""

    name: str
    idea: str
    seconds: float
    median: float
    calls: int
    gflops: float


@dataclass(frozen=True)
class Staircase:
    """The steps of one product, slowest idea first; numpy, where it was timed, is the last.

    Attributes
    ----------
    setting : Setting
        The machine and its measured FMA peak.
    m, n, k : int
        The product's size.
    steps : tuple of Step
        The variants.
    """

    setting: Setting
    m: int
    n: int
    k: int
    steps: tuple[Step, ...]

    def step(self, name: str) -> Step:
        """Return the step of a name."""
        return next(step for step in self.steps if step.name == name)


def staircase(
    shape: tuple[int, int, int] = (512, 512, 512),
    *,
    threads: int = 1,
    rounds: int = 5,
    seconds: float = 0.05,
    peer: bool = True,
    roof: Roof | None = None,
) -> Staircase:
    """Check and time every variant of one float32 product, in turns.

    Parameters
    ----------
    shape : tuple of int
        M, N and K of C[M, N] = A[M, K] B[K, N].
    threads : int, default 1
        Of every variant, numpy's too.
    rounds : int, default 5
        Turns of each variant; one that takes longer than half a second is timed once.
    seconds : float, default 0.05
        Length of a turn.
    peer : bool, default True
        Whether to time numpy as well, in a process of its own, which has the number of threads from its
        environment.
    roof : Roof, optional
        The peak of that many threads, if it was measured before.

    Returns
    -------
    Staircase
        The variants with their rates.

    Raises
    ------
    ArgumentError
        If a number is not positive.
    BenchError
        If a variant is wrong.
    RoofError
        If one is faster than the measured FMA peak by more than 2 %, which is what a clock may rise by
        between two measurements.

    Examples
    --------
    >>> from fastconv.sweep import staircase
    >>> [step.name for step in staircase((16, 16, 16), rounds=1, seconds=1e-4, peer=False).steps][:2]
    ['naive', 'reordered']
    """
    case = Case.of(gemm_shape(shape))
    a, b = gemm_arrays(case)
    out = np.empty((a.shape[0], b.shape[1]), np.float32)
    expected = Expected(a, b)
    with ExitStack() as stack:
        stack.enter_context(threads_of_process(threads))
        roof = roof or Roof(threads)
        calls = _calls(a, b, out)
        ideas = {**dict(_core.stair_steps()), **_IDEAS}
        first = {name: checked_product(name, call, out, expected) for name, call in calls.items()}
        timers: dict[str, Timer] = {name: timer(call) for name, call in calls.items()}
        if peer:
            worker = Worker(NUMPY, threads)
            stack.callback(worker.close)
            timers[NUMPY] = _peer_timer(worker, case, expected)
        times = in_turns(timers, roof, rounds=rounds, seconds=seconds, first=first)
    flops = 2 * case.gemm.macs
    steps = []
    for name, t in times.items():
        rate = flops / t.min * 1e-9
        roof.hold(f"{case.name}: {name}", rate)
        steps.append(Step(name, ideas[name], t.min, t.median, t.calls, rate))
    return Staircase(setting(roof), *shape, tuple(steps))


def gemm_shape(shape: tuple[int, int, int]) -> GemmShape:
    """Return a product's shape, checked."""
    if min(shape) < 1:
        raise ArgumentError(f"shape: expected M, N and K of at least 1, got {shape}")
    return GemmShape(*shape)


def _calls(a: Array, b: Array, out: Array) -> dict[str, Callable[[], object]]:
    """Return every variant in this process by name, slowest idea first."""

    def step(name: str) -> Callable[[], object]:
        return lambda: _core.stair_run(name, a, b, out)

    packed = _core.PackedMatrix(b)
    return {
        **{name: step(name) for name, _ in _core.stair_steps()},
        GEMM: lambda: _core.gemm(a, b, None, out, 1.0, 0.0, None, "none", 0.0, 0.0),
        PREPACKED: lambda: packed.multiply(a, out),
    }


def _peer_timer(worker: Worker, case: Case, expected: Expected) -> Timer:
    """Have numpy's process prepare and compute the product, check it, and return what times it."""

    def ask(**request: object) -> dict[str, float]:
        reply = worker.ask(**request)
        if "error" in reply:
            raise BenchError(f"{NUMPY}: {reply['error']}")
        return reply

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "output.npy"
        ask(prepare=asdict(case), output=str(path))
        expected.check(NUMPY, np.load(path))

    def take(seconds: float) -> CallTimes:
        reply = ask(time=seconds)
        return CallTimes(reply["min"], reply["median"], int(reply["calls"]))

    return take
