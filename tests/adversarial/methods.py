"""Hostile arguments for what takes more than arrays: models and their methods, loading, preprocessing.

:func:`callees` has the right arguments of each, and :mod:`~adversarial.kinds` what may stand for
them; :func:`try_callee` puts one wrong value after another in the place of one argument.
"""

from __future__ import annotations

import inspect
import math
import os
import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from adversarial import kinds
from adversarial.functions import OBJECTS, described, spaced
from adversarial.kinds import ANYTHING, FLAG, OPTIONAL_FLAG, Kind, Odd, is_shape, shapes, whole
from fastconv.errors import FastconvError, MemoryLimitError

IMAGE = (1, 3, 16, 16)
LARGE = 1 << 30  # bytes that a machine may not have


@dataclass(frozen=True)
class Callee:
    """A public function or method that is tried, its right arguments, and the kinds of those that are varied.

    An argument called ``*name`` is one of those that a signature has under this name.
    """

    function: Callable[..., Any]
    arguments: Mapping[str, Any]
    kinds: Mapping[str, Kind]

    def call(self, changed: str, value: Any) -> Any:
        """Call it with one argument in another's place."""
        given = {**self.arguments, changed: value}
        several = [given.pop(name) for name in list(given) if name.startswith("*")]
        kinds = {name: p.kind for name, p in inspect.signature(self.function).parameters.items()}
        places = [name for name, kind in kinds.items() if kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
        before = (
            [given.pop(name) for name in places] if several else []
        )  # nothing may be left out before them
        return self.function(*before, *several, **given)

    def untried(self) -> set[str]:
        """Return the parameters that there are, and that no kind is known for."""
        found = [
            p for p in inspect.signature(self.function).parameters.values() if p.kind is not p.VAR_KEYWORD
        ]
        names = {("*" if p.kind is p.VAR_POSITIONAL else "") + p.name for p in found}
        return names - set(self.kinds)


def _network() -> Any:
    from fastconv.graph.ir import GraphBuilder

    b = GraphBuilder("net", {"w": np.ones((4, 3, 3, 3), np.float32)})
    x = b.input("x", ("batch", *IMAGE[1:]))
    b.output(b.add("Relu", b.add("Conv", x, "w")), "y", ("batch", 4, 14, 14))
    return b.build()


def models() -> dict[str, Callee]:
    """Return what a model is made by, and its methods."""
    import fastconv

    graph = _network()
    model = fastconv.Model(graph)
    x = np.ones(IMAGE, np.float32)

    def is_name(value: Any) -> bool:
        return isinstance(value, str) and value == "y"

    def are_names(value: Any) -> bool:
        return value is None or (isinstance(value, tuple | list) and all(map(is_name, value)))

    shape = Kind(shapes(IMAGE), lambda v: is_shape(v, (None, *IMAGE[1:])), "input 'x'|shapes?")
    array = Kind(kinds.forms(x), None, "input 'x'")
    y = np.zeros((1, 4, 14, 14), np.float32)
    outs = Kind((*kinds.forms(y), x, {"y": y}, {"z": y}, {"y": x}, {3: y}, {"y": None}, [y]), None)
    fed = [{"x": value} for value in array.values]
    feeds = Kind(
        (*ANYTHING, *fed, {"y": x}, {"x": x, "w": x}, {3: x}, {"x": x, 3: x}, [("x", x)]), None, "input 'x'"
    )
    names = Kind(
        (*ANYTHING, ["y"], ("y", "y"), ["z"], [["y"]], [3], "y", {"y": 1}, b"y", ["y", Odd()]), are_names
    )
    paths = Kind((*ANYTHING, ".", "none/net.fcm", Path("net.fcm"), kinds.BytesPath()), None)
    graphs = Kind(
        (*(v for v in ANYTHING if v is not len), lambda: 3, lambda: None), None
    )  # functions of ours
    return {
        "Model": Callee(fastconv.Model, {"graph": graph, **OPTIONS}, {"graph": graphs, **OPTION_KINDS}),
        "Model.__call__": Callee(model, {"*inputs": x, "out": None}, {"*inputs": array, "out": outs}),
        "Model.run": Callee(
            model.run, {"output_names": None, "feeds": {"x": x}}, {"output_names": names, "feeds": feeds}
        ),
        "Model.memory": Callee(model.memory, {"*shapes": IMAGE}, {"*shapes": shape}),
        "Model.program": Callee(model.program, {"*shapes": IMAGE}, {"*shapes": shape}),
        "Model.explain": Callee(model.explain, {"*shapes": IMAGE}, {"*shapes": shape}),
        "Model.save": Callee(
            model.save,
            {"path": "net.fcm", "*shapes": IMAGE, "packed": True, "coded": None},
            {"path": paths, "*shapes": shape, "packed": OPTIONAL_FLAG, "coded": OPTIONAL_FLAG},
        ),
        "count": Callee(
            fastconv.count,
            {"model": model, "*shapes": IMAGE},
            {
                "model": Kind(ANYTHING, None),
                "*shapes": Kind((*shape.values, *array.values), None, shape.named),
            },
        ),
    }


def profiles() -> dict[str, Callee]:
    """Return the profiler, whose every call takes a tenth of a second."""
    import fastconv
    from fastconv.roofline import Bandwidth, Peak, Roofline

    model = fastconv.Model(_network())
    bands = tuple(Bandwidth("DRAM", way, "avx2", 1, 0, 1e3, 1e3, 3) for way in ("read", "write", "copy"))
    roof = Roofline("a processor", Peak("avx2", 1, 1e6, 1e6, 5), bands, {})
    return {
        "profile": Callee(
            fastconv.profile,
            {"model": model, "*inputs": IMAGE, "threads": 1, "seconds": 0.01, "roofline": roof},
            {
                "model": Kind(OBJECTS, None),
                "*inputs": Kind(
                    (*OBJECTS, (1, 2), (1, 3, 16, 1.0), (1, 3, 16, -1)), None, "input 'x'|shapes?"
                ),
                "threads": Kind((*OBJECTS, 0, -1, 1, 5000, 1 << 70), whole(1, 4096, none=True, flags=True)),
                "seconds": Kind((*OBJECTS, 0, 0.01, -1.0, -0.0), kinds.real(-1e-9, 1e6)),
                "roofline": Kind(OBJECTS[3:], lambda _: False),
            },
        ),
    }


OPTIONS: dict[str, Any] = {
    "passes": "default", "precision": None, "tune": False, "max_bytes": 1 << 30, "threads": None,
}  # fmt: skip
OPTION_KINDS: dict[str, Kind] = {
    "passes": kinds.PASSES,
    "precision": kinds.PRECISION,
    "tune": FLAG,
    "max_bytes": kinds.MAX_BYTES,
    "threads": kinds.THREADS,
}


def modules() -> dict[str, Callee]:
    """Return :func:`fastconv.from_torch`, of a small module; needs torch."""
    import torch

    import fastconv

    module = torch.nn.Conv2d(3, 4, 3)
    examples: tuple[Any, ...] = (
        None,
        "x",
        3,
        [],
        (),
        (None,),
        {"x": 1},
        np.array("x"),
        np.ones((2, 2)),
        len,
        Odd(),
    )
    return {
        "from_torch": Callee(
            fastconv.from_torch,
            {"module": module, "example": np.ones(IMAGE, np.float32)},
            {
                "module": Kind((*OBJECTS, torch.nn.Conv2d, Odd()), lambda _: False),
                "example": Kind(examples, lambda _: False),
                "dynamic_batch": Kind(OBJECTS, FLAG.right),
                "dynamic_size": Kind(OBJECTS, FLAG.right),
                "passes": Kind((*OBJECTS, ["fold_pad", 3]), kinds.PASSES.right),
                "precision": Kind(OBJECTS, kinds.one_of("fast", "exact", "bf16")),
                "tune": Kind(tuple(v for v in OBJECTS if v is not True), FLAG.right),
            },
        )
    }


def loading() -> dict[str, Callee]:
    """Return :func:`fastconv.load`, of the bytes of a model; what is no model is tried elsewhere."""
    import fastconv

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.fcm"
        fastconv.Model(_network()).save(path, packed=True)
        compiled = path.read_bytes()
    sources = (compiled[:100], compiled[:-1], memoryview(compiled), bytearray(compiled), kinds.BytesPath())
    folders = Kind((*ANYTHING, ".", Path("/none"), kinds.BytesPath()), None)
    return {
        "load": Callee(
            fastconv.load,
            {"source": compiled, **OPTIONS, "external_data": None, "verify": False},
            {
                "source": Kind((*ANYTHING, *sources), None, "model|header|the model|/|expected"),
                **OPTION_KINDS,
                "passes": Kind(ANYTHING, lambda v: isinstance(v, str) and v == "default"),
                "external_data": folders,
                "verify": FLAG,
            },
        )
    }


def backends() -> dict[str, Callee]:
    """Return the functions of :mod:`fastconv.backend`, of a model of one node; needs onnx."""
    import onnx

    from fastconv import backend

    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    ends = [onnx.helper.make_tensor_value_info(name, 1, IMAGE) for name in "xy"]
    graph = onnx.helper.make_graph([node], "net", ends[:1], ends[1:])
    opsets = [onnx.helper.make_opsetid("", 17)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=9)
    x = np.ones(IMAGE, np.float32)
    device = Kind((*OBJECTS, "CPU", "CUDA", "CPU:0", "CPU:x", Odd()), kinds.one_of("CPU", "CPU:0"))
    lists = [[value] for value in kinds.forms(x)]
    inputs = Kind((*OBJECTS, *lists, [x, x], [], {"x": x}, {"y": x}, Odd()), None, "input 'x'|feeds|node")
    no_model = Kind((*OBJECTS, node, Odd()), lambda _: False, "source|model|the model|/|[^ ]*: expected")
    no_node = Kind((*OBJECTS, model, Odd()), lambda _: False)
    return {
        "backend.prepare": Callee(backend.prepare, {"model": model}, {"model": no_model, "device": device}),
        "backend.run": Callee(backend.prepare(model).run, {"inputs": [x]}, {"inputs": inputs}),
        "backend.run_node": Callee(
            backend.run_node,
            {"node": node, "inputs": [x]},
            {"node": no_node, "inputs": inputs, "device": device},
        ),
    }


def preprocessing() -> dict[str, Callee]:
    """Return what makes inputs of photos."""
    from fastconv import models

    image = np.arange(40 * 40 * 3).reshape(40, 40, 3).astype(np.uint8)
    wrong = (image[..., :1], image.T, image[:0], [image, None], [[image]], {"x": image}, kinds.BytesPath())
    right = ([image], (image, image), spaced(image), image[:, ::-1], np.asfortranarray(image))

    def is_image(value: Any) -> bool:
        return (
            isinstance(value, np.ndarray)
            and value.dtype == np.uint8
            and value.shape[2:] == (3,)
            and value.size > 0
        )

    def are_images(value: Any) -> bool:
        return all(map(is_image, value if isinstance(value, list | tuple) else [value]))

    values = (*ANYTHING, *kinds.forms(image.astype(np.float32)), *wrong, *right)
    images = Kind(values, are_images, r"\.: expected a file")
    arguments = {"images": image, "size": 24, "mean": (1, 2, 3), "std": (1, 1, 1), "crop": 0.9}
    of_network = models.squeezenet1_1.preprocess
    names = Kind((*ANYTHING, "nearest", "lanczos", "box"), kinds.one_of("nearest", "lanczos"))
    return {
        "models.preprocess": Callee(
            models.preprocess,
            {**arguments, "resample": "bicubic"},
            {
                "images": images,
                "size": Kind((*ANYTHING, 32), whole(1, 1 << 12), "size, crop"),
                "mean": kinds.three(zero=True),
                "std": kinds.three(zero=False),
                "crop": Kind((*ANYTHING, 1, 1.0, 0.5, 1.0000001, 1e-30), kinds.real(1e-3, 1.0), "size, crop"),
                "resample": names,
            },
        ),
        "Architecture.preprocess": Callee(of_network, {"images": image}, {"images": images}),
    }


def architectures() -> dict[str, Callee]:
    """Return what makes models of weights."""
    from fastconv import models

    network = models.squeezenet1_1
    weights = network.random_weights(num_classes=2)
    first = next(iter(weights))
    changed = [{**weights, first: value} for value in kinds.forms(weights[first])]
    wrong: tuple[Any, ...] = (
        {**weights, "more": weights[first]},
        {**weights, 3: weights[first]},
        {first: 1},
        {"a": {"b": 1}},
    )
    files = (
        b"PK\x03\x04",
        b"\x80\x02",
        bytes(64),
        memoryview(b"ab"),
        "/",
        kinds.BytesPath(),
        Path("none.pth"),
    )
    given = Kind((*ANYTHING, *changed, *wrong, *files), None, "source|the|expected|/|squeezenet1_1|features")
    classes = Kind(ANYTHING, whole(2, 2, none=True), "squeezenet1_1|classifier")
    both = {"weights": weights, "num_classes": 2}
    random = {
        "num_classes": Kind(ANYTHING, whole(1, 1 << 12)),
        "seed": Kind(ANYTHING, whole(0, 1 << 100000, flags=True)),
    }
    return {
        "Architecture": Callee(network, both, {"weights": given, "num_classes": classes}),
        "Architecture.graph": Callee(network.graph, both, {"weights": given, "num_classes": classes}),
        "Architecture.random_weights": Callee(network.random_weights, {"num_classes": 2, "seed": 1}, random),
    }


def convolutions() -> dict[str, Callee]:
    """Return the methods of a planned convolution; to make and to call one is tried with the functions."""
    from fastconv import Conv2d, QConv2d, XnorConv2d

    w = np.ones((4, 3, 3, 3), np.int8)
    real = w.astype(np.float32)
    convs = {"Conv2d": Conv2d(real), "QConv2d": QConv2d(w), "XnorConv2d": XnorConv2d(real)}

    def is_input(value: Any) -> bool:
        whole = isinstance(value, tuple | list) and is_shape(value, (None, 3, None, None))
        return whole and min(map(int, value[2:])) >= 3

    shape = Kind(shapes(IMAGE), is_input, "x")
    maybe = Kind(shapes(IMAGE), lambda v: v is None or is_input(v), "x")
    return {
        f"{of}.{name}": Callee(getattr(conv, name), {"x_shape": IMAGE}, {"x_shape": kind})
        for of, conv in convs.items()
        for name, kind in (("out_shape", shape), ("algorithm_for", shape), ("explain", maybe))
    }


FAMILIES: dict[str, Callable[[], dict[str, Callee]]] = {
    "models": models,
    "profiles": profiles,
    "modules": modules,
    "loading": loading,
    "backends": backends,
    "preprocessing": preprocessing,
    "architectures": architectures,
    "convolutions": convolutions,
}


def try_one(callee: Callee, name: str, kind: Kind, value: Any) -> str:
    """Call something with one argument in another's place; return how it ended, or fail."""
    right = None if kind.right is None else kind.right(value)
    plain = name.removeprefix("*")
    try:
        callee.call(name, value)
    except FastconvError as error:
        if right and not isinstance(error, MemoryLimitError):
            raise AssertionError(f"refused what is right: {type(error).__name__}: {error}") from error
        begins = rf"{plain}\b|{kind.named}" if kind.named else rf"{plain}\b"
        file = isinstance(value, str) and str(error).startswith(f"{Path(value)}: ")
        if not file and not re.match(begins, str(error)) and not isinstance(error, MemoryLimitError):
            raise AssertionError(f"names no argument: {type(error).__name__}: {error}") from error
        return type(error).__name__
    except OSError as error:
        if not isinstance(value, str | os.PathLike):
            raise AssertionError(f"OSError for what is no path: {error}") from error
        return "OSError"
    except MemoryError as error:  # numpy's, for what would be that large
        if math.prod(getattr(error, "shape", ())) * 4 <= LARGE:
            raise AssertionError(f"out of memory, but not for a large result: {error}") from error
        return "MemoryError"
    except Exception as error:
        raise AssertionError(f"{type(error).__name__}: {error}") from error
    if right is False:
        raise AssertionError("took what is wrong")
    return "ran"


def try_family(family: str) -> tuple[dict[str, int], list[str]]:
    """Try all callees of a family; return how often calls ended how, and what was wrong with some."""
    ends: dict[str, int] = {}
    faults: list[str] = []
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FASTCONV_TUNING"] = f"{folder}/tuning.json"
        os.chdir(folder)  # where names of files are tried
        try:
            for called, callee in FAMILIES[family]().items():
                for name, kind in callee.kinds.items():
                    for value in kind.values:
                        try:
                            end = try_one(callee, name, kind, value)
                        except AssertionError as error:
                            faults.append(f"{called}({name}={described(value)}): {error}")
                            end = "wrong"
                        ends[end] = ends.get(end, 0) + 1
        finally:
            os.chdir(before)
    return ends, faults
