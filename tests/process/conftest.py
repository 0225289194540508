"""Every test here is a process of its own: what it does to threads, signals and memory ends with it.

A script starts with SETUP: a network of a convolution of each kind, its inputs in three sizes, and what it
makes of them on one thread. The timeout is a guard against hanging.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

SETUP = """
import itertools, os, pickle, signal, sys, threading, time
import numpy as np
import fastconv
from fastconv import _core
from fastconv.graph.ir import GraphBuilder
from fastconv.graph.model import Model

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
rng = np.random.default_rng(0)

def graph(channels=16, size=None):
    w = lambda *shape: rng.standard_normal(shape, dtype=np.float32) / np.float32(np.prod(shape[1:]) ** 0.5)
    c = channels
    weights = {"stem": w(c, 3, 3, 3), "depthwise": w(c, 1, 3, 3), "point": w(2 * c, c, 1, 1),
               "square": w(2 * c, 2 * c, 3, 3), "fc": w(2 * c, 10)}
    b = GraphBuilder("net", weights)
    conv = lambda x, name, **attrs: b.add("Conv", x, name, **{"pads": [1, 1, 1, 1], **attrs})
    x = b.input("x", ("batch", 3, size, size))
    x = b.add("Relu", conv(x, "stem", strides=[2, 2]))
    x = b.add("HardSwish", conv(x, "depthwise", group=c))
    x = b.add("Relu", conv(x, "point", pads=[0, 0, 0, 0]))
    x = b.add("Relu", b.add("Add", x, conv(x, "square")))
    x = b.add("Flatten", b.add("GlobalAveragePool", x))
    b.output(b.add("MatMul", x, "fc"), "y", ("batch", 10))
    return b.build()

THE_GRAPH = graph()
INPUTS = [rng.standard_normal(s, dtype=np.float32) for s in [(1, 3, 32, 32), (3, 3, 48, 40), (8, 3, 65, 33)]]
with fastconv.threads(1):
    EXPECTED = [Model(THE_GRAPH)(x) for x in INPUTS]

def right(model):
    return all(np.array_equal(model(x), y) for x, y in zip(INPUTS, EXPECTED))
"""

Script = Callable[..., str]


@pytest.fixture
def script(tmp_path: Path) -> Script:
    """Return a function that runs Python code after SETUP, from a file, and returns what it printed."""

    def run(code: str, *, setup: str = SETUP, timeout: float = 240, **environment: str) -> str:
        file = tmp_path / "script.py"
        file.write_text(setup + code)
        inherited = {
            k: v for k, v in os.environ.items() if k not in {"OMP_NUM_THREADS", "FASTCONV_NUM_THREADS"}
        }
        finished = subprocess.run(
            [sys.executable, "-W", "ignore::DeprecationWarning", str(file)],  # of forking beside threads
            env={**inherited, **environment},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert finished.returncode == 0, f"exit status {finished.returncode}\n{finished.stderr}"
        return finished.stdout

    return run
