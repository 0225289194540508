"""``fastconv classify``: what is in the images, and how long the network took to say so."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastconv._progress import track
from fastconv._text import did_you_mean
from fastconv.cli import arguments, labels, network, output
from fastconv.errors import ArgumentError, ModelError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from fastconv.graph.model import Model

    Preprocess = Callable[[Path], npt.NDArray[np.float32]]

DEFAULT_MODEL = "efficientnet_lite0"


def add(commands: Any) -> None:
    """Add the command's arguments."""
    parser = commands.add_parser("classify", help="classify images", description=__doc__)
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE")
    parser.add_argument(
        "--model", default=DEFAULT_MODEL, metavar="FILE",
        help="an .onnx or .fcm file, or weights of an architecture of fastconv.models (.pth, .safetensors,"
        f" .npz, a folder of .npy) (default: {DEFAULT_MODEL} with its ImageNet weights)",
    )  # fmt: skip
    network.add_architecture(parser)
    parser.add_argument(
        "--topk", type=arguments.positive_int, default=5, metavar="K", help="classes (default: 5)"
    )
    output.add_format_flags(parser)
    parser.set_defaults(run=run)


def open_classifier(name: str, architecture: str | None = None) -> tuple[Model, Preprocess]:
    """Return a model and what makes its input of an image file.

    Parameters
    ----------
    name : str
        ``"efficientnet_lite0"``, or a path as of ``--model``.
    architecture : str, optional
        Whose weights the file holds.
    """
    from fastconv.models import MODELS, efficientnet_lite0, efficientnet_lite0_weights
    from fastconv.models.source import find_network

    if name == DEFAULT_MODEL:
        return efficientnet_lite0(efficientnet_lite0_weights()), efficientnet_lite0.preprocess
    if not Path(name).exists():
        near = did_you_mean(name, [DEFAULT_MODEL])
        kind = ", which has no weights here" if name in MODELS else near
        raise ArgumentError(f"--model: expected a file or {DEFAULT_MODEL!r}, got {name!r}{kind}")
    source = find_network(name, architecture)
    if source.architecture is None:
        return _open_graph(source.model(), name)
    return source.model(), source.architecture.preprocess


def _open_graph(model: Model, name: str) -> tuple[Model, Preprocess]:
    """Open a classifier that does not say how it was trained: as on ImageNet, is assumed."""
    from fastconv.models import preprocess

    shape = model.inputs[0].shape
    if len(shape) != 4 or 3 not in (shape[1], shape[3]):
        raise ModelError(f"{name}: expected an RGB image (n, 3, h, w) or (n, h, w, 3) as input, got {shape}")
    channels_last = shape[1] != 3
    size = shape[2] if isinstance(shape[2], int) else 224

    def prepare(path: Path) -> npt.NDArray[np.float32]:
        x = preprocess(path, size)
        return x.transpose(0, 2, 3, 1) if channels_last else x

    return model, prepare


def scores_of(model: Model, x: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the scores of one image; of outputs that are all alike (logits, probabilities) the first."""
    found = model(x)
    outputs = found if isinstance(found, tuple) else (found,)
    if len({y.shape for y in outputs}) > 1:
        shapes = ", ".join(f"{o.name} {y.shape}" for o, y in zip(model.outputs, outputs, strict=True))
        raise ArgumentError(f"--model: expected scores of classes, got outputs of several shapes: {shapes}")
    y: npt.NDArray[Any] = outputs[0]
    if not y.size or y.dtype.kind not in "iufV":
        raise ArgumentError(f"--model: expected scores of classes, got shape {y.shape} of {y.dtype}")
    return y


def classify(model: Model, x: npt.NDArray[np.float32], topk: int, seconds: float = 0.1) -> dict[str, Any]:
    """Return the best classes of one image and the best time of a run."""
    from fastconv.timing import time_calls

    y = scores_of(model, x)
    return {
        "milliseconds": 1e3 * time_calls(lambda: model(x), seconds).min,
        "top": labels.top_classes(y.reshape(-1), topk),
    }


def describe(title: str, found: dict[str, Any]) -> None:
    """Print what was found in one image."""
    output.line(f"{title}  ({found['milliseconds']:.1f} ms)")
    for entry in found["top"]:
        output.line(f"  {entry['probability']:6.1%}  {entry['name']}  [{entry['index']}]")


def run(args: argparse.Namespace) -> int:
    """Classify and print."""
    model, prepare = open_classifier(args.model, args.architecture)
    found = [
        {"image": str(path)} | classify(model, prepare(path), args.topk)
        for path in track(args.images, "classifying")
    ]
    rows = [
        {"image": entry["image"], "milliseconds": entry["milliseconds"], **top}
        for entry in found
        for top in entry["top"]
    ]
    if output.emit(args, {"model": args.model, "images": found}, rows):
        return 0
    for entry in found:
        describe(entry["image"], entry)
    return 0
