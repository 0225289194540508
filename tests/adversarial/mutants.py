"""Mutants: real networks with a few things wrong in them, the same for the same seed.

What is mutated are the nine whole networks that the package ``onnx`` carries, and parts of them of up to
eight nodes, which load in milliseconds and in which a change is not lost among a thousand nodes (the corpus
``light``), or ONNX's tests of operators (``nodes``). One mutant in four is damaged in its bytes; the others
are changed where the format has its structure: attributes, names, operators, the edges between nodes, shapes,
element types, opsets.
"""

from __future__ import annotations

import functools
import math
import random
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Random = random.Random

LENGTHS = (1, 2, 4, 8)  # nodes of a part
MAX_VALUE = 1 << 16  # elements of a value of a part
MAX_WEIGHTS = 1 << 16  # elements of all its weights
WHOLE = 0.003  # of the mutants are of a whole network
BYTES = 0.25  # are damaged in their bytes

#: Integers that code trips over.
INTEGERS = (
    *(0, 1, -1, 2, 3, 4, 5, 7, 8, 16, 64, 100, 255, 1000, -2, -3, -100),
    *(s * (1 << n) + d for n in (15, 16, 24, 28, 31, 32, 40, 47, 62) for s in (1, -1) for d in (-1, 0, 1)),
    *((1 << 63) - 1, -(1 << 63)),
)
FLOATS = (0.0, -0.0, 1.0, -1.0, 0.5, 2.0, 1e-45, 1e-7, 1e30, 3e38, math.inf, -math.inf, math.nan)
STRINGS = (
    *("", "SAME_UPPER", "SAME_LOWER", "VALID", "NOTSET", "constant", "reflect", "edge", "wrap", "nearest"),
    *("linear", "cubic", "floor", "align_corners", "asymmetric", "half_pixel", "DCR", "CRD", "NHWC", "x\0y"),
    "tf_crop_and_resize",
)
ATTRIBUTES = (
    *(
        "axis",
        "axes",
        "pads",
        "strides",
        "dilations",
        "kernel_shape",
        "group",
        "auto_pad",
        "mode",
        "ceil_mode",
    ),
    *(
        "output_padding",
        "output_shape",
        "alpha",
        "beta",
        "transA",
        "transB",
        "keepdims",
        "to",
        "perm",
        "size",
    ),
    *("count_include_pad", "blocksize", "epsilon", "spatial", "broadcast", "allowzero", "split", "starts"),
    *(
        "ends",
        "scales",
        "value",
        "num_groups",
        "largest",
        "sorted",
        "select_last_index",
        "storage_order",
        "p",
    ),
)
OPERATORS = (
    *("Abs", "Add", "And", "ArgMax", "ArgMin", "AveragePool", "BatchNormalization", "Cast", "Ceil", "Clip"),
    *("Concat", "Constant", "ConstantOfShape", "Conv", "ConvInteger", "ConvTranspose", "CumSum", "Einsum"),
    *("DepthToSpace", "DequantizeLinear", "Div", "Dropout", "DynamicQuantizeLinear", "Elu", "Equal", "Erf"),
    *("Exp", "Expand", "Flatten", "Floor", "Gather", "GatherElements", "GatherND", "Gelu", "Gemm", "Greater"),
    *(
        "GlobalAveragePool",
        "GlobalLpPool",
        "GlobalMaxPool",
        "GridSample",
        "GroupNormalization",
        "HardSigmoid",
    ),
    *(
        "HardSwish",
        "Identity",
        "If",
        "InstanceNormalization",
        "LRN",
        "LayerNormalization",
        "LeakyRelu",
        "Less",
    ),
    *("Log", "Loop", "LpNormalization", "LpPool", "MatMul", "MatMulInteger", "Max", "MaxPool", "MaxUnpool"),
    *(
        "Mean",
        "Min",
        "Mod",
        "Mul",
        "Neg",
        "NonMaxSuppression",
        "NonZero",
        "Not",
        "OneHot",
        "Or",
        "PRelu",
        "Pad",
    ),
    *(
        "Pow",
        "QLinearConv",
        "QLinearMatMul",
        "QuantizeLinear",
        "Range",
        "Reciprocal",
        "ReduceL2",
        "ReduceMax",
    ),
    *("ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "Relu", "Reshape", "Resize", "RoiAlign", "Round"),
    *(
        "ScatterElements",
        "ScatterND",
        "Selu",
        "Shape",
        "Sigmoid",
        "Sign",
        "Size",
        "Slice",
        "Softmax",
        "Split",
    ),
    *("Softplus", "SpaceToDepth", "Sqrt", "Squeeze", "Sub", "Sum", "Tanh", "Tile", "TopK", "Transpose"),
    *("Trilu", "Unsqueeze", "Upsample", "Where"),
)


@functools.cache
def networks() -> list[Any]:
    """Return the nine whole networks, with the shape of every value."""
    import onnx

    folder = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
    models = [onnx.load(path) for path in sorted(folder.glob("light_*.onnx"))]
    return [onnx.shape_inference.infer_shapes(model, data_prop=True) for model in models]


@functools.cache
def parts() -> list[bytes]:
    """Return parts of the networks, each a model of its own."""
    found: dict[bytes, None] = {}  # in order, each once
    for model in networks():
        nodes = [n for n in model.graph.node if n.op_type != "ConstantOfShape"]
        for start in range(len(nodes)):
            for length in LENGTHS:
                part = _part(model, nodes[start : start + length])
                if part is not None:
                    found[part] = None
    return list(found)


@functools.cache
def operator_tests() -> list[bytes]:
    """Return the models of ONNX's own tests of operators; making them takes half a minute."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some of their numbers overflow
        from onnx.backend.test.loader import load_model_tests

        cases = sorted(load_model_tests(kind="node"), key=lambda case: str(case.name))
    return [case.model.SerializeToString(deterministic=True) for case in cases if case.model is not None]


def _part(model: Any, nodes: Sequence[Any]) -> bytes | None:
    """Return nodes and what they need as a model, or None where that is too much."""
    from onnx import helper

    made, initializers, values = _tables(model)
    written = {name for n in nodes for name in n.output}
    read = list(dict.fromkeys(name for n in nodes for name in n.input if name not in written))
    makers = [made[name] for name in read if name in made]
    constants = [initializers[name] for name in read if name in initializers]
    constants += [initializers[maker.input[0]] for maker in makers]
    inputs = [values[name] for name in read if name not in made and name not in initializers]
    consumed = {name for n in nodes for name in n.input}
    outputs = [values[name] for n in nodes for name in n.output if name not in consumed and name in values]
    weights = sum(_size(values[maker.output[0]]) for maker in makers)
    if weights > MAX_WEIGHTS or any(_size(v) > MAX_VALUE for v in (*inputs, *outputs)) or not outputs:
        return None
    unique = {t.name: t for t in constants}
    graph = helper.make_graph([*makers, *nodes], "part", inputs, outputs, list(unique.values()))
    made_model = helper.make_model(graph, opset_imports=list(model.opset_import), ir_version=model.ir_version)
    data: bytes = made_model.SerializeToString(deterministic=True)
    return data


@functools.lru_cache(maxsize=1)
def _cached_tables(index: int) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    graph = networks()[index].graph
    made = {n.output[0]: n for n in graph.node if n.op_type == "ConstantOfShape"}
    initializers = {t.name: t for t in graph.initializer}
    values = {v.name: v for v in (*graph.value_info, *graph.input, *graph.output)}
    return made, initializers, values


def _tables(model: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Return a model's ConstantOfShape nodes, initializers and value infos, by name."""
    return _cached_tables(next(i for i, other in enumerate(networks()) if other is model))


def _size(info: Any) -> int:
    return math.prod(d.dim_value for d in info.type.tensor_type.shape.dim)


# -- mutants -----------------------------------------------------------------------------------------------


def originals(corpus: str) -> list[bytes]:
    """Return the models that are mutated: ``light`` or ``nodes``."""
    return {"light": parts, "nodes": operator_tests}[corpus]()


def mutant(seed: int, corpus: str = "light") -> bytes:
    """Return the mutant of a seed, as the bytes of an ONNX file."""
    import onnx

    rng = Random(seed)
    if corpus == "light" and rng.random() < WHOLE:
        data: bytes = rng.choice(networks()).SerializeToString(deterministic=True)
    else:
        data = rng.choice(originals(corpus))
    if rng.random() < BYTES:
        return _damaged(rng, data)
    model = onnx.ModelProto.FromString(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 5))):
        rng.choice(MUTATIONS)(rng, model)
    changed: bytes = model.SerializeToString(deterministic=True)
    return changed


def _damaged(rng: Random, data: bytes) -> bytes:
    """Change, insert, remove, repeat or cut off some bytes."""
    content = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 8))):
        at = rng.randrange(max(1, len(content)))
        length = rng.choice((1, 1, 1, 2, 4, 8, 32))
        match rng.randrange(6):
            case 0 | 1:
                content[at : at + 1] = bytes([rng.randrange(256)])
            case 2:
                content[at:at] = rng.randbytes(length)
            case 3:
                del content[at : at + length]
            case 4:
                content[at:at] = content[at : at + length] * rng.choice((1, 2, 50))
            case _ if rng.random() < 0.2:
                del content[at:]
    return bytes(content)


def _names(model: Any) -> list[str]:
    graph = model.graph
    written = [name for n in graph.node for name in n.output]
    return [*written, *(v.name for v in graph.input), *(t.name for t in graph.initializer), "", "nowhere"]


def _mutate_attribute(rng: Random, model: Any) -> None:
    found = [(n, a) for n in model.graph.node for a in n.attribute]
    if not found:
        return
    node, attribute = rng.choice(found)
    match rng.randrange(12):
        case 0:
            node.attribute.remove(attribute)
        case 1:
            attribute.name = rng.choice(("axis", "pads", "group", "mode", "", "ctx", "activation", "value"))
        case 2:
            attribute.type = rng.randrange(15)
        case 3:
            node.attribute.add().CopyFrom(rng.choice(found)[1])
        case _:
            _mutate_value(rng, attribute)


def _mutate_value(rng: Random, attribute: Any) -> None:
    if attribute.ints:
        at = rng.randrange(len(attribute.ints))
        match rng.randrange(5):
            case 0:
                del attribute.ints[at]
            case 1:
                attribute.ints.append(rng.choice(INTEGERS))
            case _:
                attribute.ints[at] = rng.choice(INTEGERS)
    elif attribute.HasField("i"):
        attribute.i = rng.choice(INTEGERS)
    elif attribute.HasField("f"):
        attribute.f = rng.choice(FLOATS)
    elif attribute.HasField("s"):
        attribute.s = rng.choice(STRINGS).encode()
    elif attribute.HasField("t"):
        _mutate_tensor_of(rng, attribute.t)


def _add_attribute(rng: Random, model: Any) -> None:
    from onnx import helper

    value = rng.choice(
        (
            rng.choice(INTEGERS),
            rng.choice(FLOATS),
            rng.choice(STRINGS),
            [rng.choice(INTEGERS) for _ in range(rng.randrange(1, 7))],
            [rng.choice(FLOATS)] * rng.randrange(1, 5),
        )
    )
    rng.choice(model.graph.node).attribute.append(helper.make_attribute(rng.choice(ATTRIBUTES), value))


def _change_operator(rng: Random, model: Any) -> None:
    node = rng.choice(model.graph.node)
    node.op_type = rng.choice(OPERATORS)
    if rng.random() < 0.7:
        del node.attribute[:]


def _rewire(rng: Random, model: Any) -> None:
    node = rng.choice(model.graph.node)
    names = _names(model)
    match rng.randrange(7):
        case 0 if node.input:
            del node.input[rng.randrange(len(node.input))]
        case 1:
            node.input.append(rng.choice(names))
        case 2 if len(node.input) > 1:
            node.input[:] = rng.sample(list(node.input), len(node.input))
        case 3 if node.output:
            node.output[rng.randrange(len(node.output))] = rng.choice(names)
        case 4:
            node.output.append(rng.choice((*names, "more")))
        case _ if node.input:
            node.input[rng.randrange(len(node.input))] = rng.choice(names)


def _mutate_nodes(rng: Random, model: Any) -> None:
    nodes = model.graph.node
    at = rng.randrange(len(nodes))
    match rng.randrange(4):
        case 0:
            if len(nodes) > 1:
                del nodes[at]
        case 1:
            copy = nodes.add()
            copy.CopyFrom(nodes[at])
            if rng.random() < 0.7 and copy.output:
                copy.output[0] = f"copy {len(nodes)}"
                model.graph.output.add().CopyFrom(model.graph.output[0])
                model.graph.output[-1].name = copy.output[0]
        case 2:
            order = rng.sample(range(len(nodes)), len(nodes))
            copies = [type(nodes[at]).FromString(nodes[i].SerializeToString()) for i in order]
            del nodes[:]
            nodes.extend(copies)
        case _:
            nodes[at].domain = rng.choice(("ai.onnx", "ai.onnx.ml", "fastconv", "com.microsoft"))


def _mutate_tensor(rng: Random, model: Any) -> None:
    if model.graph.initializer:
        _mutate_tensor_of(rng, rng.choice(model.graph.initializer))


def _mutate_tensor_of(rng: Random, tensor: Any) -> None:
    import numpy as np

    match rng.randrange(8):
        case 0 if tensor.dims:
            tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice(INTEGERS)
        case 1:
            tensor.data_type = rng.randrange(-1, 28)
        case 2:
            tensor.raw_data = tensor.raw_data[: rng.randrange(1 + len(tensor.raw_data))]
        case 3:
            tensor.data_location = 1
            tensor.external_data.add(key="location", value=rng.choice(("/dev/zero", "../x", "x", ".", "")))
        case 4:
            tensor.dims.append(rng.choice((0, 1, 2, -1)))
        case _ if tensor.data_type == 7 and (tensor.int64_data or tensor.raw_data):  # the shapes of weights
            raw = np.frombuffer(tensor.raw_data, "<i8", len(tensor.raw_data) // 8)
            changed = [int(v) for v in (tensor.int64_data or raw)]
            if changed:
                small = (0, 1, 2, 3, 4, 5, 6, 8, 12, 16, 32)
                changed[rng.randrange(len(changed))] = rng.choice(INTEGERS if rng.random() < 0.3 else small)
            tensor.ClearField("int64_data")
            tensor.raw_data = np.array(changed, "<i8").tobytes()
        case _:
            data = bytearray(tensor.raw_data)
            for _ in range(rng.randrange(1, 5)):
                if data:
                    data[rng.randrange(len(data))] = rng.choice((0, 127, 128, 255))
            tensor.raw_data = bytes(data)


def _mutate_values(rng: Random, model: Any) -> None:
    infos = [*model.graph.input, *model.graph.output]
    info = rng.choice(infos)
    dims = info.type.tensor_type.shape.dim
    match rng.randrange(6):
        case 0:
            info.name = rng.choice(_names(model))
        case 1:
            info.type.tensor_type.elem_type = rng.randrange(0, 28)
        case 2:
            dims.add(dim_value=rng.choice((1, 2, 3)))
        case 3 if dims:
            del dims[rng.randrange(len(dims))]
        case _ if dims:
            dim = rng.choice(dims)
            if rng.random() < 0.3:
                dim.dim_param = "n"
            else:
                dim.dim_value = rng.choice((1, 2, 3, 4, 5, 7, 8, 9, 16, rng.choice(INTEGERS)))


def _mutate_header(rng: Random, model: Any) -> None:
    if rng.random() < 0.9 and model.opset_import:
        model.opset_import[0].version = rng.choice((*range(1, 28), *INTEGERS[:20]))
    else:
        model.ir_version = rng.choice((0, 1, 3, 8, 10, 13, 99, -1))


MUTATIONS: tuple[Callable[[Random, Any], None], ...] = (
    *(_mutate_attribute,) * 5,
    *(_rewire,) * 3,
    *(_mutate_tensor,) * 3,
    *(_change_operator,) * 3,
    *(_mutate_values,) * 2,
    _add_attribute,
    _mutate_nodes,
    _mutate_header,
)
