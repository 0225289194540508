"""ONNX's own backend tests, run and counted: what docs/conformance.md is written by.

    python tests/conformance.py docs/conformance.md            # run, count, write the page
    python tests/conformance.py docs/conformance.md --check    # exit with 1 if a count has dropped
    python tests/conformance.py --op Conv                      # an operator's cases, every error

The cases are those of the installed ``onnx`` package (``onnx.backend.test``): the node tests, also stamped or
converted to every older opset that knows their operators, the whole networks, and the tests that were
converted from PyTorch. Nothing is skipped silently: a case that does not pass is on the page with its error.
"""

from __future__ import annotations

import argparse
import collections
import json
import re
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
from onnx import ModelProto, helper, numpy_helper, version_converter
from onnx.backend.test.loader import load_model_tests
from onnx.reference import ReferenceEvaluator

import fastconv
from fastconv._text import markdown, paragraph
from fastconv.errors import FastconvError

OLDEST = 7  # opset

# The operators that a convolutional network meets: those that issue and documentation name.
CNN_OPS = frozenset(
    [
        "Conv",
        "ConvTranspose",
        "ConvInteger",
        "QLinearConv",
        "QuantizeLinear",
        "DequantizeLinear",
        "DynamicQuantizeLinear",
        "MatMulInteger",
        "QLinearMatMul",
        "MaxPool",
        "AveragePool",
        "LpPool",
        "GlobalAveragePool",
        "GlobalMaxPool",
        "GlobalLpPool",
        "MaxUnpool",
        "BatchNormalization",
        "InstanceNormalization",
        "LayerNormalization",
        "GroupNormalization",
        "LRN",
        "LpNormalization",
        "Relu",
        "LeakyRelu",
        "PRelu",
        "Elu",
        "Selu",
        "Celu",
        "Sigmoid",
        "HardSigmoid",
        "HardSwish",
        "Softplus",
        "Softsign",
        "Tanh",
        "Mish",
        "Gelu",
        "Swish",
        "ThresholdedRelu",
        "Softmax",
        "LogSoftmax",
        "Clip",
        "Erf",
        "Add",
        "Sub",
        "Mul",
        "Div",
        "Pow",
        "Sqrt",
        "Exp",
        "Log",
        "Abs",
        "Neg",
        "Floor",
        "Ceil",
        "Round",
        "Reciprocal",
        "Min",
        "Max",
        "Sum",
        "Mean",
        "Equal",
        "Greater",
        "GreaterOrEqual",
        "Less",
        "LessOrEqual",
        "And",
        "Or",
        "Not",
        "Where",
        "ReduceMean",
        "ReduceSum",
        "ReduceMax",
        "ReduceMin",
        "ReduceProd",
        "ReduceL1",
        "ReduceL2",
        "ReduceSumSquare",
        "ReduceLogSumExp",
        "Concat",
        "Split",
        "Slice",
        "Pad",
        "Gather",
        "Shape",
        "Size",
        "Reshape",
        "Flatten",
        "Squeeze",
        "Unsqueeze",
        "Transpose",
        "Expand",
        "Tile",
        "Range",
        "Cast",
        "Constant",
        "ConstantOfShape",
        "Identity",
        "Dropout",
        "ArgMax",
        "ArgMin",
        "TopK",
        "Resize",
        "Upsample",
        "DepthToSpace",
        "SpaceToDepth",
        "Gemm",
        "MatMul",
    ]
)
CNN_DTYPES = frozenset(map(np.dtype, ("f4", "f8", "u1", "i1", "i4", "i8", "?")))


@dataclass(frozen=True)
class Outcome:
    """What became of a case: passed, or why not."""

    name: str
    op: str
    error: str = ""
    opset: int = 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run as the module's text says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("page", nargs="?", type=Path, help="a Markdown file, written whole")
    parser.add_argument("--check", action="store_true", help="compare with the page instead of writing it")
    parser.add_argument("--op", action="append", help="run the node tests of these operators alone")
    parser.add_argument("--all-opsets", action="store_true", help="with --op: at older opsets too")
    arguments = parser.parse_args(argv)
    warnings.simplefilter("ignore")  # of the cases' own arithmetic
    cases = load_model_tests(kind="node")
    if arguments.op:
        return _show(cases, set(arguments.op), arguments.all_opsets)
    counts, text = report(cases)
    _say(*(f"{name}: {passed} of {total}" for name, (passed, total) in counts.items()))
    if arguments.page is None:
        return 0
    if not arguments.check:
        arguments.page.write_text(text)
        return 0
    before = read_counts(arguments.page)
    lost = [f"{n}: {counts[n][0]}, the page has {p}" for n, (p, _) in before.items() if counts[n][0] < p]
    _say(*(lost or ["no count has dropped"]))
    return bool(lost)


def read_counts(page: Path) -> dict[str, tuple[int, int]]:
    """Return the counts that a page states, (passed, total) by title."""
    found = re.search(r"<!-- counts (.*) -->", page.read_text())
    if found is None:
        raise ValueError(f"{page}: expected a line of counts, got none")
    return {title: (passed, total) for title, (passed, total) in json.loads(found.group(1)).items()}


def _say(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))


# -- cases ---------------------------------------------------------------------------------------------------


def operators(case: Any) -> set[str]:
    """Names of a case's operators."""
    return {node.op_type for node in case.model.graph.node}


def is_cnn(case: Any) -> bool:
    """Whether a case has the operators and element types of convolutional networks alone."""
    if not operators(case) <= CNN_OPS or "_expanded" in case.name:
        return False
    infos = (*case.model.graph.input, *case.model.graph.output)
    return all(
        info.type.HasField("tensor_type") and _dtype(info.type.tensor_type.elem_type) in CNN_DTYPES
        for info in infos
    )


def _dtype(number: int) -> np.dtype[Any] | None:
    return np.dtype(helper.tensor_dtype_to_np_dtype(number)) if number else None


def at_older_opsets(case: Any) -> Iterator[tuple[int, ModelProto]]:
    """Every opset down to 7 that knows a case's operators, with the model as it is written there.

    Where an operator has not changed in between the version alone differs; else onnx's converter writes it,
    if it can, and if onnx's reference evaluator says that it means the same: a Softmax before opset 13 does
    not.
    """
    model = case.model
    (newest,) = [o.version for o in model.opset_import if o.domain in ("", "ai.onnx")] or [0]
    for opset in range(newest - 1, OLDEST - 1, -1):
        try:
            same = all(
                onnx.defs.get_schema(node.op_type, opset, node.domain).since_version
                == onnx.defs.get_schema(node.op_type, newest, node.domain).since_version
                for node in model.graph.node
            )
        except onnx.defs.SchemaError:  # an operator is younger
            return
        if same:
            older = ModelProto.FromString(model.SerializeToString())
            for entry in older.opset_import:
                if entry.domain in ("", "ai.onnx"):
                    entry.version = opset
        else:
            try:
                older = version_converter.convert_version(model, opset)
                onnx.checker.check_model(older)
                same = _means_the_same(older, case)
            except Exception:  # RuntimeError, ConvertError, ValidationError...: no such form
                continue
            if not same:
                continue
        yield opset, older


def _means_the_same(model: ModelProto, case: Any) -> bool:
    evaluator = ReferenceEvaluator(model)
    names = [info.name for info in model.graph.input]
    return all(
        not difference(np.asarray(got), as_array(wanted), case.rtol, 1e-6)
        for inputs, expected in case.data_sets
        for got, wanted in zip(
            evaluator.run(None, dict(zip(names, map(as_array, inputs), strict=True))), expected, strict=True
        )
    )


def run_case(model: ModelProto, data_sets: Iterable[Any], rtol: float, atol: float) -> str:
    """Run a model on its data; return the error, or nothing."""
    try:
        loaded = fastconv.load(model)
        for inputs, expected in data_sets:
            names = [info.name for info in _free_inputs(model)]
            results = loaded.run(None, dict(zip(names, map(as_array, inputs), strict=True)))
            for info, result, wanted in zip(model.graph.output, results, expected, strict=True):
                problem = difference(result, as_array(wanted), rtol, atol, len(model.graph.node))
                if problem:
                    return f"output {info.name!r}: {problem}"
    except FastconvError as error:
        return f"{type(error).__name__}: {error}"
    except Exception as error:
        return f"UNTYPED {type(error).__name__}: {error}"
    return ""


def as_array(value: Any) -> Any:
    """Return an input or output of a case as an array."""
    return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)


def difference(got: Any, wanted: Any, rtol: float, atol: float, roundings: int = 1) -> str:
    """Say how a result differs from the one expected, which was rounded after each of some nodes."""
    if got.dtype != wanted.dtype or got.shape != wanted.shape:
        return f"expected {wanted.dtype} of shape {wanted.shape}, got {got.dtype} of shape {got.shape}"
    if wanted.dtype.kind not in "fV":
        return "" if np.array_equal(got, wanted) else "values differ"
    if wanted.dtype.itemsize == 2:  # a type of storage: ours is rounded once
        info: Any = ml_dtypes.finfo  # untyped
        rtol = max(rtol, roundings * float(info(wanted.dtype).eps))
    x, y = got.astype(np.float64), wanted.astype(np.float64)
    if np.allclose(x, y, rtol, atol, equal_nan=True):
        return ""
    return f"values differ by up to {np.max(np.abs(x - y)):.3g}"


def node_outcome(case: Any, opset: int = 0, model: ModelProto | None = None) -> Outcome:
    """Run a node case."""
    chosen = case.model if model is None else model
    error = run_case(chosen, case.data_sets, case.rtol, max(case.atol, 1e-6))
    return Outcome(case.name, case.model.graph.node[-1].op_type, error, opset)


def stored_outcome(case: Any) -> Outcome:
    """Run a case whose model and data are files: whole networks, tests from PyTorch."""
    folder = Path(case.model_dir)
    model = onnx.load(folder / "model.onnx")
    sets = []
    for data in sorted(folder.glob("test_data_set*")):
        read = {
            kind: [
                numpy_helper.to_array(onnx.load_tensor(data / f"{kind}_{i}.pb"))
                for i in range(len(list(data.glob(f"{kind}_*.pb"))))
            ]
            for kind in ("input", "output")
        }
        sets.append((read["input"], read["output"]))
    if not sets:
        return Outcome(case.name, "", "no data")
    return Outcome(case.name, "", run_case(model, sets, case.rtol, max(case.atol, 1e-6)))


def light_networks() -> list[Any]:
    """Find the whole networks that onnx ships: small files, weights by ConstantOfShape."""
    cases = []
    for case in load_model_tests(kind="real"):
        folder = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
        path = folder / f"light_{case.model_name}.onnx"
        if path.exists():
            cases.append((case, path))
    return cases


# -- the report ----------------------------------------------------------------------------------------------


def report(cases: Sequence[Any]) -> tuple[dict[str, tuple[int, int]], str]:
    """Run everything; return (passed, total) by title, and the page."""
    cnn = [case for case in cases if is_cnn(case)]
    groups = {"node tests of CNN operators": [node_outcome(case) for case in cnn]}
    groups["the same at older opsets"] = [
        node_outcome(case, opset, model) for case in cnn for opset, model in at_older_opsets(case)
    ]
    groups["tests converted from PyTorch"] = [
        stored_outcome(case)
        for kind in ("pytorch-converted", "pytorch-operator")
        for case in load_model_tests(kind=kind)
    ]
    groups["whole networks"] = [_light_outcome(*pair) for pair in light_networks()]
    groups["all node tests"] = [node_outcome(case) for case in cases]
    counts = {
        title: (sum(not o.error for o in outcomes), len(outcomes)) for title, outcomes in groups.items()
    }
    return counts, _page(groups, counts)


def _light_outcome(case: Any, path: Path) -> Outcome:
    model = onnx.load(path)
    folder = path.parent
    sets = []
    inputs = folder / f"{path.stem}_input_0.pb"
    outputs = folder / f"{path.stem}_output_0.pb"
    if outputs.exists():
        x = numpy_helper.to_array(onnx.load_tensor(inputs)) if inputs.exists() else _ones(model)
        sets.append(([x], [numpy_helper.to_array(onnx.load_tensor(outputs))]))
    return Outcome(
        path.stem, "", run_case(model, sets, case.rtol, max(case.atol, 1e-6)) if sets else "no data"
    )


def _free_inputs(model: ModelProto) -> list[Any]:
    """Return the inputs that are no weights."""
    weights = {t.name for t in model.graph.initializer}
    return [info for info in model.graph.input if info.name not in weights]


def _ones(model: ModelProto) -> Any:
    (info,) = _free_inputs(model)
    shape = [d.dim_value or 1 for d in info.type.tensor_type.shape.dim]
    return np.ones(shape, np.float32)


def _table(counts: dict[str, tuple[int, int]]) -> str:
    rows = ((title, str(passed), str(total)) for title, (passed, total) in counts.items())
    return markdown([("tests", "passed", "of"), *rows])


def _page(groups: dict[str, list[Outcome]], counts: dict[str, tuple[int, int]]) -> str:
    lines = [
        "# Conformance with ONNX",
        "",
        f"<!-- counts {json.dumps(counts)} -->",
        "",
        paragraph(
            f"`nox -s conformance` runs the backend tests of the onnx package (here {onnx.__version__}, opset"
            f" {onnx.defs.onnx_opset_version()}) and writes this page. CI runs them too, and fails when a"
            " count drops. A node test counts once as it is, and once for each older opset, down to 7, that"
            " knows its operator."
        ),
        "",
        _table(counts),
        "",
    ]
    for title, outcomes in groups.items():
        failed = [o for o in outcomes if o.error]
        if not failed:
            continue
        lines += [f"## What does not pass: {title}", ""]
        by_reason = collections.defaultdict(list)
        for o in failed:
            by_reason[_reason(o)].append(o.name + (f" (opset {o.opset})" if o.opset else ""))
        for reason, names in sorted(by_reason.items(), key=lambda item: (-len(item[1]), item[0])):
            shown = ", ".join(f"`{n}`" for n in names[:4]) + (", ..." if len(names) > 4 else "")
            lines.append(paragraph(f"- {len(names)}: {reason}: {shown}", indent="  "))
        lines.append("")
    return "\n".join(lines)


# Why some cases do not pass, where the error itself does not say it.
KNOWN = {
    r"test_training_dropout": "training: the expected values hang on numpy's random numbers",
    r"test_resize_downsample_scales_(linear|cubic)_align_corners$": (
        "the last pixel of an aligned corner is the input's last pixel here, as in torch and ONNX Runtime;"
        " the specification's reference aligns the corner of a fractional size"
    ),
    r"test_(log)?softmax_axis_[01]$": (
        "before opset 13 softmax is over all dimensions from the axis on, which neither onnx's converter nor"
        " its reference evaluator knows"
    ),
}


def _reason(outcome: Outcome) -> str:
    """Return the error without what is of one node alone."""
    known = next((reason for pattern, reason in KNOWN.items() if re.match(pattern, outcome.name)), None)
    if known is not None:
        return known
    text = re.sub(r"node '[^']*' \((\w+)\): ", r"\1: ", outcome.error)
    return re.sub(r"\s+", " ", text)[:150].replace("|", "\\|")


def _show(cases: Iterable[Any], ops: set[str], older: bool) -> int:
    failed = total = 0
    for case in cases:
        if case.model.graph.node[-1].op_type not in ops:
            continue
        models = [(0, case.model), *(at_older_opsets(case) if older else ())]
        for opset, model in models:
            outcome = node_outcome(case, opset, model)
            total += 1
            if outcome.error:
                failed += 1
                _say(f"{case.name} {opset or ''}: {outcome.error}")
    _say(f"{total - failed} of {total}")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
