"""ONNX's own operator tests: what is accepted is right, what is not is refused with a typed error."""

from __future__ import annotations

import warnings
from collections import defaultdict
from typing import Any

import numpy as np
import pytest

import fastconv
from fastconv.errors import FastconvError
from fastconv.graph import compile as _table  # noqa: F401  (fills the table)
from fastconv.graph.registry import supported_ops

onnx = pytest.importorskip("onnx")

from conformance import as_array, difference  # noqa: E402  (it needs onnx)

# The last pixel of an aligned corner is the last pixel of the input, as in torch and ONNX Runtime; the
# specification's reference aligns the corner of a fractional size instead.
DIFFERENT = {
    "test_resize_downsample_scales_linear_align_corners",
    "test_resize_downsample_scales_cubic_align_corners",
}


def backend_cases() -> dict[str, list[Any]]:
    """The test cases of single operators that are in the table, by operator."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # generating the cases overflows here and there
        from onnx.backend.test.loader import load_model_tests

        cases = load_model_tests(kind="node")
    supported = set(supported_ops())
    found = defaultdict(list)
    for case in cases:
        ops = {node.op_type for node in case.model.graph.node}
        arrays = case.data_sets[0][0] if case.data_sets else [None]
        if ops <= supported and all(isinstance(a, np.ndarray) for a in arrays) and case.name not in DIFFERENT:
            found[case.model.graph.node[-1].op_type].append(case)
    return found


CASES = backend_cases()


def with_constants(case: Any, runtime_inputs: int) -> tuple[Any, dict[str, Any]]:
    """The model with all inputs made constants but the first f32 ones, and what to feed to those."""
    model = onnx.ModelProto.FromString(case.model.SerializeToString())
    feeds = {}
    for info, array in zip(model.graph.input, case.data_sets[0][0], strict=True):
        array = np.asarray(array)
        if array.dtype == np.float32 and len(feeds) < runtime_inputs:
            feeds[info.name] = array
        else:
            model.graph.initializer.append(onnx.numpy_helper.from_array(array, info.name))
    return model, feeds


@pytest.mark.parametrize("op", sorted(CASES))
def test_agrees_or_refuses(op: str) -> None:
    ran = 0
    for case in CASES[op]:
        for runtime_inputs in (9, 1, 0):  # all at run time, all but the first constant, all constant
            model, feeds = with_constants(case, runtime_inputs)
            try:
                got = fastconv.load(model).run(None, feeds)
            except FastconvError:
                continue
            for result, expected in zip(got, map(as_array, case.data_sets[0][1]), strict=True):
                problem = difference(result, expected, case.rtol, 1e-5, len(model.graph.node))
                assert not problem, f"{case.name}: {problem}"
            ran += 1
    assert ran, f"none of {len(CASES[op])} cases of {op} is accepted"
