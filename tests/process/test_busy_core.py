"""Two threads beside a process that burns one of the cores: no wait for a worker that has not begun."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import numpy as np
import pytest

import fastconv


def fastest(conv: fastconv.Conv2d, x: np.ndarray, threads: int) -> float:
    """The least time of ten rounds, each of forty layers in a row, like a network's steps."""
    times = []
    with fastconv.threads(threads):
        for _ in range(11):
            start = time.perf_counter()
            for _ in range(40):
                conv(x)
            times.append(time.perf_counter() - start)
    return min(times[1:])


def test_a_busy_core_costs_no_time_slice_a_step(rng: np.random.Generator) -> None:
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        pytest.skip("one core: nothing to share")
    x = rng.standard_normal((1, 64, 28, 28)).astype(np.float32)
    conv = fastconv.Conv2d(rng.standard_normal((64, 64, 3, 3)).astype(np.float32), padding=1)
    neighbour = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        os.sched_setaffinity(0, cores[:2])
        os.sched_setaffinity(neighbour.pid, {cores[1]})
        alone = fastest(conv, x, 1)
        assert fastest(conv, x, 2) < 4 * alone
    finally:
        os.sched_setaffinity(0, cores)
        neighbour.kill()
        neighbour.wait()
