"""Malformed models: each is refused with a typed error that names what is wrong, soon, and without memory."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastconv
from adversarial import malformed
from adversarial.case import Case, floats, ints, net, node
from adversarial.graphs import convolution
from adversarial.run import MAX_BYTES, load_and_run
from adversarial.sandbox import Sandbox
from adversarial.values import apply, made
from adversarial.windows import blocks, conv, conv_transpose, pool, resize
from fastconv import errors

pytest.importorskip("onnx")

CASES = malformed()
SECONDS = 2  # of the processor
MEMORY = MAX_BYTES + (128 << 20)  # resident: what is allowed, and what a model that is right takes
ADDRESSES = 1 << 30


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_is_refused(case: Case, sandbox: Sandbox, tmp_path: Path) -> None:
    outcome = sandbox.run(load_and_run, case.write(tmp_path), memory=ADDRESSES)
    assert outcome.typed, outcome
    assert issubclass(getattr(errors, outcome.error), case.error), outcome
    assert re.search(case.text, outcome.message, re.DOTALL), outcome
    assert outcome.seconds < SECONDS, outcome
    assert outcome.peak_bytes < MEMORY, outcome


def test_there_are_many_and_of_different_names() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 300


RIGHT: dict[str, Callable[[], Any]] = {
    "graph": convolution,
    "Conv": conv,
    "Conv with bias": lambda: conv(bias=(4,), pads=[1, 1, 1, 1], strides=[2, 2], dilations=[2, 2]),
    "ConvTranspose": conv_transpose,
    "MaxPool": pool,
    "AveragePool": lambda: pool("AveragePool", strides=[2, 2], pads=[1, 1, 1, 1]),
    "GlobalMaxPool": lambda: pool("GlobalMaxPool"),
    "DepthToSpace": lambda: blocks("DepthToSpace", 2),
    "SpaceToDepth": lambda: blocks("SpaceToDepth", 2),
    "Resize by scales": lambda: resize(scales=[1, 1, 2, 2]),
    "Resize to sizes": lambda: resize(sizes=[1, 3, 16, 16]),
    "Reshape": lambda: apply("Reshape", shape=ints(3, -1)),
    "Slice": lambda: apply("Slice", s=ints(0), e=ints(4), a=ints(2), steps=ints(1)),
    "Gather": lambda: apply("Gather", i=ints(2), axis=1),
    "Split": lambda: apply("Split", split=ints(1, 2), axis=1, outputs="y z"),
    "Concat": lambda: apply("Concat", w=floats(1, 3, 8, 8), axis=1),
    "Expand": lambda: apply("Expand", shape=ints(4, 3, 8, 8)),
    "Tile": lambda: apply("Tile", repeats=ints(1, 1, 2, 1)),
    "Pad": lambda: apply("Pad", pads=ints(*[1] * 8)),
    "Gemm": lambda: apply("Gemm", x=(2, 4), w=floats(4, 3), c=floats(3)),
    "MatMul": lambda: apply("MatMul", x=(2, 3, 4), w=floats(4, 2)),
    "BatchNormalization": lambda: apply("BatchNormalization", **{n: floats(3) for n in "sbmv"}),
    "LRN": lambda: apply("LRN", size=3),
    "Softmax": lambda: apply("Softmax", axis=1),
    "ReduceMean": lambda: apply("ReduceMean", axes=[2, 3]),
    "TopK": lambda: apply("TopK", k=ints(2), outputs="y i"),
    "ConstantOfShape": lambda: made("ConstantOfShape", shape=ints(4)),
    "Range": lambda: made("Range", a=floats(1)[0].reshape(()), b=np.float32(9), c=np.float32(2)),
    "Mul": lambda: made("Mul", a=floats(4, 1), b=floats(1, 4)),
}


@pytest.mark.parametrize("name", RIGHT)
def test_they_are_right_but_for_one_thing(name: str, sandbox: Sandbox, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(RIGHT[name]().SerializeToString())
    outcome = sandbox.run(load_and_run, path, memory=ADDRESSES)
    assert not outcome.error, outcome
    assert outcome.value > 0


# -- the budget --------------------------------------------------------------------------------------------


def expanded(elements: int) -> Any:
    return net(node("Expand", "x size"), inputs={"x": (1,)}, size=ints(elements))


def test_the_default_is_2_gib_and_nothing_of_it_is_taken_by_what_is_refused(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(expanded((1 << 29) + 16).SerializeToString())
    outcome = sandbox.run(fastconv.load, path, memory=ADDRESSES)
    assert outcome.error == "MemoryLimitError"
    assert "max_bytes = 2147483648" in outcome.message
    assert outcome.peak_bytes < 32 << 20


def test_max_bytes_is_a_limit_of_arena_and_outputs() -> None:
    model = expanded(1000)
    fastconv.load(model, max_bytes=4000)
    fastconv.load(model, max_bytes=None)
    with pytest.raises(fastconv.MemoryLimitError, match=r"node 'suspect' \(Expand\): .*max_bytes = 3000 "):
        fastconv.load(model, max_bytes=3000)


def test_a_models_own_size_is_beside_the_limit() -> None:
    model = net(node("Conv", "x w"), inputs={"x": (1, 64, 8, 8)}, w=floats(64, 64, 3, 3))
    own = 64 * 64 * 9 * 4
    assert fastconv.load(model, max_bytes=4 * own)(np.ones((1, 64, 8, 8), np.float32)).shape == (1, 64, 6, 6)
    with pytest.raises(fastconv.MemoryLimitError, match=f"beyond the model's own {own}"):
        fastconv.load(model, max_bytes=0)


def test_shapes_planned_one_after_the_other_do_not_add_up() -> None:
    model = fastconv.load(net(node("Exp", "x"), inputs={"x": ("n", 1000)}), max_bytes=20_000)
    for n in (1, 2, 3, 4, 2, 1, 3, 4) * 4:
        assert model(np.zeros((n, 1000), np.float32)).shape == (n, 1000)
    with pytest.raises(fastconv.MemoryLimitError, match=r"node 'suspect' \(Exp\): .*max_bytes = 20000"):
        model(np.zeros((6, 1000), np.float32))
    assert model(np.zeros((4, 1000), np.float32)).shape == (4, 1000)


@pytest.mark.parametrize("value", [-1, 1.5, "1 GiB"])
def test_max_bytes_that_is_no_number_of_bytes(value: Any) -> None:
    error = fastconv.ArgumentError if value == -1 else fastconv.DTypeError
    with pytest.raises(error, match="max_bytes: expected a number of bytes or None"):
        fastconv.load(expanded(4), max_bytes=value)


# -- the sandbox itself: what it has to see, it sees ---------------------------------------------------------


def test_a_crash_a_hang_memory_and_other_errors_are_seen(sandbox: Sandbox) -> None:
    import os
    import time

    assert sandbox.run(os.abort).signal == "SIGABRT"
    assert sandbox.run(time.sleep, 60, seconds=0.2).signal == "SIGALRM"
    assert sandbox.run(bytes, 1 << 40).error == "MemoryError"
    assert sandbox.run(bytes, 300 << 20, memory=200 << 20).error == "MemoryError"
    assert not sandbox.run(bytes, 300 << 20, memory=200 << 20).ok
    assert sandbox.run(operator.mul, b"x", 100 << 20).peak_bytes > 95 << 20  # beside pages used again
    assert sandbox.run(int, "x").error == "ValueError"
    assert not sandbox.run(int, "x").ok
    assert sandbox.run(fastconv.load, 3).ok
    assert sandbox.run(int, "7").value == 7
