"""The binding under a model: what does not fit is an error, never a wild read or write."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastconv import _core
from fastconv.errors import ArgumentError, FastconvError, ShapeError
from fastconv.graph.steps import STEP_KINDS

F32 = np.dtype(np.float32)
INPUT, OUTPUT = 1, 2  # slots of a program with one of each; 0 is the arena


@pytest.fixture
def program() -> _core.Program:
    return _core.Program(_core.ArenaPool(), 64, [48], [48])


def view(
    slot: int, *shape: int, offset: int = 0, strides: tuple[int, ...] | None = None, dtype: str = "f4"
) -> Any:
    """Return an operand; its offset is in elements here."""
    dense = tuple(int(np.prod(shape[i + 1 :])) for i in range(len(shape)))
    element = np.dtype(dtype)
    return slot, offset * element.itemsize, shape, dense if strides is None else strides, element


def test_every_kind_of_step_is_declared() -> None:
    """And no other: a method of a program that takes operands is a kind of step."""
    others = {"add_constant", "run", "run_profiled"}
    methods = {name for name in vars(_core.Program) if not name.startswith("_")} - others
    assert methods == set(STEP_KINDS)


def test_steps_run_in_order(program: _core.Program) -> None:
    x, y = np.arange(12, dtype=np.float32), np.empty(12, np.float32)
    constant = program.add_constant(np.full(1, 10, np.float32))
    program.activate(view(INPUT, 3, 4), view(0, 3, 4), "neg", 0.0, 0.0)
    ten = view(constant, 3, 4, strides=(0, 0))
    program.binary(view(0, 3, 4), ten, view(OUTPUT, 3, 4), "add", "clamp", 0.0, 5.0)
    program.run([x], [y])
    np.testing.assert_array_equal(y, np.clip(10 - x, 0, 5))
    y[:] = 0
    seconds = program.run_profiled([x], [y])
    assert len(seconds) == 2
    np.testing.assert_array_equal(y, np.clip(10 - x, 0, 5))


def test_constants_outlive_their_arrays(program: _core.Program) -> None:
    slot = program.add_constant(np.arange(12, dtype=np.float32))
    program.copy(view(slot, 12), view(OUTPUT, 12))
    y = np.empty(12, np.float32)
    program.run([np.zeros(12, np.float32)], [y])
    np.testing.assert_array_equal(y, np.arange(12))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (view(INPUT, 13), "expected bytes 0 to 48 of slot 1, got 0 to 52"),
        (view(INPUT, 12, offset=1), "got 4 to 52"),
        (view(INPUT, 12, offset=-1), "got -4 to 44"),
        (view(INPUT, 12, offset=10, strides=(-1,)), "got -4 to 44"),
        (view(INPUT, 4, strides=(2**61,)), "bytes that can be counted"),
        (view(0, 17), "of slot 0"),
        (view(3, 12), "slot: expected 0 to 2, got 3"),
        (view(-1, 12), "slot: expected 0 to 2, got -1"),
        (view(INPUT, -1), "operand: expected sizes of at least 0, got -1"),
        (view(INPUT, 1, 1, 1, 1, 1, 1, 12), "view: expected at most 6 sizes"),
        ((INPUT, 0, (12,), (1, 1), F32), "operand: expected as many strides as 1 sizes, got 2"),
        (view(INPUT, 12, dtype="i4"), "operand: expected f32 elements, got s32"),
        ((INPUT, 2, (11,), (1,), F32), "operand: expected a multiple of 4 bytes, got offset 2"),
        (view(INPUT, 12, dtype=">f4"), "operand: expected f32 elements, got other"),
    ],
)
def test_operands_outside_their_slot(source: Any, message: str, program: _core.Program) -> None:
    with pytest.raises(FastconvError, match=message):
        program.copy(source, view(OUTPUT, 12))


def test_names(program: _core.Program) -> None:
    with pytest.raises(ArgumentError, match="op: expected one of add, sub"):
        program.binary(view(INPUT, 12), view(INPUT, 12), view(OUTPUT, 12), "xor", "none", 0.0, 0.0)
    with pytest.raises(ArgumentError, match="act: expected one of none"):
        program.activate(view(INPUT, 12), view(OUTPUT, 12), "cosine", 0.0, 0.0)


def test_workspace_must_be_large_enough(program: _core.Program) -> None:
    w = np.ones((1, 1, 3, 3), np.float32)
    pair = {"stride": [1, 1], "padding_lo": [1, 1], "padding_hi": [1, 1], "dilation": [1, 1]}
    conv = _core.Conv(
        w,
        None,
        spatial=2,
        groups=1,
        auto_pad="explicit",
        transposed=False,
        output_padding=[0, 0],
        act="none",
        alpha=0.0,
        beta=0.0,
        precision="fast",
        algorithm="im2col",
        **pair,
    )
    image = ((1, 1, 3, 4), (12, 12, 4, 1), np.dtype(np.float32))
    planned = _core.PlannedConv(conv, image, None, image, 1)
    assert planned.workspace > 16
    operand = view(INPUT, 1, 1, 3, 4)
    with pytest.raises(ShapeError, match="workspace: expected"):
        program.conv(operand, None, view(OUTPUT, 1, 1, 3, 4), planned, view(0, 16))


@pytest.mark.parametrize(
    ("inputs", "outputs", "error"),
    [
        ([], [np.empty(12, np.float32)], ArgumentError),
        ([np.zeros(12, np.float32)], [], ArgumentError),
        ([np.zeros(11, np.float32)], [np.empty(12, np.float32)], ShapeError),
        ([np.zeros(24, np.float32)[::2]], [np.empty(12, np.float32)], ArgumentError),
        ([np.zeros(12, np.float64)], [np.empty(12, np.float32)], ShapeError),
        ([np.zeros(12, np.float32)], [np.broadcast_to(np.float32(0), 12)], ArgumentError),
    ],
)
def test_arrays_that_do_not_fit(
    inputs: Any, outputs: Any, error: type[Exception], program: _core.Program
) -> None:
    program.copy(view(INPUT, 12), view(OUTPUT, 12))
    with pytest.raises(error):
        program.run(inputs, outputs)


def test_calls_see_arrays_of_their_operands() -> None:
    program = _core.Program(_core.ArenaPool(), 64, [24], [12])
    seen = []

    def double(x: Any, y: Any) -> None:
        seen.append((x.dtype, x.shape, x.strides, x.tolist()))
        y[...] = 2 * x

    program.call([view(INPUT, 2, 3, dtype="i4", strides=(1, 2)), view(0, 2, 3, dtype="i4")], double)
    program.call(
        [view(0, 2, 3, dtype="i4", offset=3, strides=(-3, 1)), view(OUTPUT, 2, 3, dtype="i2")], double
    )
    y = np.zeros((2, 3), np.int16)
    program.run([np.arange(6, dtype=np.int32)], [y])
    assert seen[0] == (np.dtype("i4"), (2, 3), (4, 8), [[0, 2, 4], [1, 3, 5]])
    np.testing.assert_array_equal(y, [[4, 12, 20], [0, 8, 16]])


def test_an_error_in_a_call_ends_the_run(program: _core.Program) -> None:
    def fail(_x: Any, _y: Any) -> None:
        raise ShapeError("no")

    program.call([view(INPUT, 12), view(OUTPUT, 12)], fail)
    for _ in range(2):  # nothing is left behind
        with pytest.raises(ShapeError, match="no"):
            program.run([np.zeros(12, np.float32)], [np.zeros(12, np.float32)])


@pytest.mark.parametrize(
    "operand",
    [
        view(INPUT, 7, dtype="f8"),
        view(INPUT, 6, dtype="f8", offset=1),
        view(INPUT, 4, offset=1, strides=(-1,)),
        view(9, 1),
        view(INPUT, -1),
    ],
)
def test_calls_outside_of_their_slots(operand: Any, program: _core.Program) -> None:
    with pytest.raises(FastconvError):
        program.call([operand], print)
