"""Networks as files that every engine runs.

``python -m fastconv.lab.compare.networks CASE FOLDER``, CASE as JSON, writes ``model.onnx``, an input
``x.npy``, the float64 result ``expected.npy`` and ``facts.json``. Weights are random and seeded but for
open_nsfw, which has its own. Torchvision's networks are exported by torch and
computed by its float64 module; the others are written from fastconv's graph and walked in float64, or where
they have other operators than the walk knows, by ONNX's reference implementation.
"""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fastconv.errors import ArgumentError, UnsupportedOpError
from fastconv.graph.ir import CompiledGraph, Graph
from fastconv.lab.compare.cases import Case
from fastconv.lab.compare.network_names import NETWORKS, is_trained, source_of
from fastconv.models import MODELS

OPSET = 17

# Operators of torchvision's compiled part, which classifiers do without: declared, its CPU-only import works
# beside a torch that it was not built for.
_DECLARED = (
    "nms(Tensor d, Tensor s, float t) -> Tensor",
    "qnms(Tensor d, Tensor s, float t) -> Tensor",
    "roi_align(Tensor a, Tensor b, float c, int d, int e, int f, bool g) -> Tensor",
    *(
        f"{name}(Tensor a) -> Tensor"
        for name in (
            *("_roi_align_backward", "roi_pool", "_roi_pool_backward", "ps_roi_align", "deform_conv2d"),
            *("_ps_roi_align_backward", "ps_roi_pool", "_ps_roi_pool_backward", "_deform_conv2d_backward"),
        )
    ),
)


def written(case: Case, folder: Path) -> Case:
    """Write a network's files in a process of its own and return the case that knows them."""
    target = folder / case.name.replace(" ", "_")
    if not (target / "facts.json").exists():
        target.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            [sys.executable, "-m", "fastconv.lab.compare.networks", json.dumps(asdict(case)), str(target)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            reason = done.stderr.strip().splitlines()[-1].partition("Error: ")
            raise ArgumentError(f"{case.name}: {reason[2] or reason[0]}")
    return Case(case.kind, case.name, {**case.parameters, "folder": str(target)})


def import_torchvision() -> Any:
    """Import torchvision, also beside a torch that its compiled part was not built for."""
    import torch

    try:
        import torchvision
    except RuntimeError:  # operator torchvision::nms does not exist
        library = torch.library.Library("torchvision", "DEF")
        for schema in _DECLARED:
            library.define(schema)
        import_torchvision.library = library  # type: ignore[attr-defined]  # undefined when collected
        for module in [m for m in sys.modules if m.partition(".")[0] == "torchvision"]:
            del sys.modules[module]
        import torchvision
    return torchvision


def torchvision_module(name: str) -> Any:
    """Return a network of torchvision with seeded weights, ready for inference."""
    import torch

    torchvision = import_torchvision()
    torch.manual_seed(0)
    options = {"aux_logits": True, "init_weights": False} if name.startswith("inception") else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return getattr(torchvision.models, name)(weights=None, **options).eval()


def is_torchvision(case: Case) -> bool:
    """Whether a case's network is torchvision's module, and not a graph of fastconv's."""
    name = case.parameters["model"]
    return "shape" not in case.parameters and name in NETWORKS and source_of(name) == "torchvision"


def own_graph(name: str, architecture: str | None = None) -> Graph:
    """Return the graph of a network of fastconv's, of open_nsfw or of a file."""
    from fastconv.importers.onnx import from_file
    from fastconv.models import efficientnet_lite0_weights, opennsfw_model
    from fastconv.models.source import find_network

    if name == "efficientnet_lite0" and is_trained(name):
        return MODELS[name].graph(efficientnet_lite0_weights())
    if name == "open_nsfw":
        return from_file(opennsfw_model())
    graph = find_network(name, architecture).graph()
    if isinstance(graph, CompiledGraph):
        raise ArgumentError(
            f"{name}: expected a model that other engines read, got one compiled for fastconv alone, which"
            " `fastconv run` times"
        )
    return graph


def input_shape(name: str, graph: Graph, batch: int) -> list[int]:
    """Return the shape of a graph's one input; sizes that it leaves open are those of the network's table."""
    known = NETWORKS[name].image if name in NETWORKS else None
    if graph.name in MODELS:
        known = known or MODELS[graph.name].size
    sizes = [n if isinstance(n, int) else known for n in graph.inputs[0].shape[1:]]
    if None in sizes:
        raise ArgumentError(f"{name}: expected --input-shape, as the model leaves sizes open, got none")
    return [batch, *(n for n in sizes if n is not None)]


def write(case: Case, folder: Path) -> None:
    """Fill a folder with a network's files."""
    name, batch = case.parameters["model"], case.parameters["batch"]
    if is_torchvision(case):
        x = case.rng.standard_normal((batch, 3, *[NETWORKS[name].image] * 2), np.float32)
        expected, flops = _write_torchvision(name, x, folder / "model.onnx")
    else:
        from fastconv.exporters.onnx import to_proto

        graph = own_graph(name, case.parameters.get("architecture"))
        if len(graph.inputs) != 1 or len(graph.outputs) != 1:
            raise ArgumentError(
                f"{name}: expected one input and one output, got {len(graph.inputs)} and {len(graph.outputs)}"
            )
        shape = case.parameters.get("shape") or input_shape(name, graph, batch)
        x = case.rng.standard_normal(shape, np.float32)
        model = to_proto(graph, {graph.inputs[0].name: x.shape})
        (folder / "model.onnx").write_bytes(model.SerializeToString())
        expected, flops = _expected_own(graph, model, x)
    if case.is_int8:
        from fastconv.lab.compare.quantised import expected_quantised, quantise

        quantise(folder / "model.onnx", x, case.rng)
        expected = expected_quantised(folder / "model.onnx", x)
    np.save(folder / "x.npy", x)
    np.save(folder / "expected.npy", expected)
    (folder / "facts.json").write_text(json.dumps({"flops": flops}))


def _expected_own(
    graph: Graph, model: Any, x: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.float64], int]:
    from fastconv.lab.compare.expected import expected_graph

    try:
        return expected_graph(graph, x)
    except UnsupportedOpError:
        from onnx.reference import ReferenceEvaluator

        from fastconv.graph.model import Model
        from fastconv.lab.profile import count

        (y,) = ReferenceEvaluator(model).run(None, {graph.inputs[0].name: x})
        return np.asarray(y, np.float64), 2 * int(count(Model(graph), x.shape).totals["macs"])


def _write_torchvision(
    name: str, image: npt.NDArray[np.float32], path: Path
) -> tuple[npt.NDArray[np.float64], int]:
    import torch

    module, x, macs = torchvision_module(name), torch.from_numpy(image), 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, x, str(path), dynamo=False, opset_version=OPSET, input_names=["x"])

    def count(layer: Any, _: Any, y: Any) -> None:
        nonlocal macs
        macs += y.numel() * layer.weight[0].numel()

    for layer in module.modules():
        if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear):
            layer.register_forward_hook(count)
    with torch.no_grad():
        y = module.double()(x.double())
    return y.numpy(), 2 * macs


if __name__ == "__main__":
    write(Case(**json.loads(sys.argv[1])), Path(sys.argv[2]))
