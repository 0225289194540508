"""What quantising costs: real networks on crops of packaged photos, beside ONNX Runtime's own quantiser.

    python bench/quantize.py efficientnet_lite0 open_nsfw --json bench/results/lab/quantize.json
    python bench/quantize.py --ways NNCF --json ...   # adds to the record what is not in it
    python bench/quantize.py --report         # the table of docs/quantize.md; --check only compares them

A network is quantised from 100 crops, and compared with itself in floats on 150 others of the same photos,
cut by another seed: this is agreement, not accuracy. ONNX Runtime's quantiser (`quantize_static`, QDQ, a
scale for each channel of weights) has the same crops, and is judged by what our integers make of its file, so
that the file counts and not the processor. The best of its ways to find ranges is the one to compare with.
NNCF's quantiser is compared likewise where it is installed. "lenet" is another case: LeNet-5, trained as in
examples/compress_mnist.py, quantised from 300 of the digits it has learnt from, and its accuracy on digits
held back.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

import fastconv
from fastconv import models
from fastconv._text import markdown, paragraph, update_page
from fastconv.compress import quantize
from fastconv.compress.agreement import Agreement, agreement
from fastconv.compress.prepare import PER_CHANNEL
from fastconv.exporters.onnx import to_file
from fastconv.graph.ir import Graph
from fastconv.importers.onnx import from_file
from fastconv.lab.machine.setting import made_with

Array = np.ndarray[Any, Any]

ROOT = Path(__file__).parents[1]
RECORD, PAGE = ROOT / "bench" / "results" / "lab" / "quantize.json", ROOT / "docs" / "quantize.md"
PHOTOS = (
    *("skimage/astronaut.png", "skimage/chelsea.png", "skimage/coffee.png", "skimage/motorcycle_left.png"),
    *("skimage/motorcycle_right.png", "skimage/rocket.jpg", "skimage/hubble_deep_field.jpg"),
    *("skimage/retina.jpg", "sklearn/china.jpg", "sklearn/flower.jpg"),
)
CALIBRATION, CHECK = 100, 150
LENET, MIN_SNR, EPOCHS = "lenet", 46.0, 12
WAYS = {
    "fastconv": "fastconv", "min_snr": "fastconv, `--min-snr {min_snr:g}`",
    "MinMax": "ONNX Runtime, MinMax", "Entropy": "ONNX Runtime, Entropy",
    "Percentile": "ONNX Runtime, Percentile", "NNCF": "NNCF",
}  # fmt: skip
DIGITS = 300  # that a network of digits is quantised from
MODULES = {"scikit-image": "skimage", "scikit-learn": "sklearn"}
PACKAGES = ("onnxruntime", "scikit-image", "scikit-learn", "nncf", "mlxtend")


def crops(count: int, seed: int, size: int) -> Array:
    """Return squares cut at random from the photos in turn, half of them mirrored: (n, size, size, 3)."""
    import skimage
    import sklearn
    from PIL import Image

    folders = {"skimage": Path(skimage.__file__).parent / "data",
               "sklearn": Path(sklearn.__file__).parent / "datasets" / "images"}  # fmt: skip
    rng = np.random.default_rng(seed)
    pictures = []
    for name in PHOTOS:
        package, file = name.split("/")
        pictures.append(Image.open(folders[package] / file).convert("RGB"))
    cut = []
    for i in range(count):
        picture = pictures[i % len(pictures)]
        side = int(min(picture.size) * rng.uniform(0.45, 1.0))
        left, top = (int(rng.integers(0, n - side + 1)) for n in picture.size)
        square = picture.crop((left, top, left + side, top + side)).resize((size, size), Image.BILINEAR)
        pixels = np.asarray(square)
        cut.append(pixels[:, ::-1] if rng.random() < 0.5 else pixels)
    return np.stack(cut)


def lite(pixels: Array) -> Array:
    """As EfficientNet-Lites want it."""
    return np.ascontiguousarray(((pixels.astype(np.float32) - 127) / 128).transpose(0, 3, 1, 2))


def caffe(pixels: Array) -> Array:
    """As open_nsfw wants it: blue first, minus the mean."""
    return pixels[..., ::-1].astype(np.float32) - np.float32([104, 117, 123])


def _lite_graph(number: int) -> Graph:
    architecture = models.MODELS[f"efficientnet_lite{number}"]
    return architecture.graph(getattr(models, f"efficientnet_lite{number}_weights")())


NETWORKS: dict[str, tuple[Callable[[], Graph], Callable[[Array], Array], int]] = {
    "efficientnet_lite0": (lambda: _lite_graph(0), lite, 224),
    "efficientnet_lite1": (lambda: _lite_graph(1), lite, 240),
    "efficientnet_lite2": (lambda: _lite_graph(2), lite, 260),
    "open_nsfw": (lambda: from_file(models.opennsfw_model()), caffe, 224),
}


def theirs(path: Path, x: Array, method: str, folder: Path) -> Path:
    """Quantise a file as ONNX Runtime does."""
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Inputs(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left: Iterator[Array] = iter(x)

        def get_next(self) -> dict[str, Array] | None:
            sample = next(self.left, None)
            return None if sample is None else {name: sample[None]}

    name = from_file(path).inputs[0].name
    plain, out = folder / "plain.onnx", folder / f"{method}.onnx"
    quant_pre_process(str(path), str(plain), skip_symbolic_shape=True)
    quantize_static(
        str(plain), str(out), Inputs(), quant_format=QuantFormat.QDQ, per_channel=True,
        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
        calibrate_method=getattr(CalibrationMethod, method),
    )  # fmt: skip
    return out


def nncf(path: Path, x: Array, folder: Path) -> Path:
    """Quantise a file as NNCF does, for networks in general."""
    import onnx.version_converter
    from nncf import Dataset, quantize

    proto = onnx.load(path)
    if proto.opset_import[0].version < PER_CHANNEL:  # which it refuses
        proto = onnx.version_converter.convert_version(proto, PER_CHANNEL)
    name = proto.graph.input[0].name
    onnx.save(quantize(proto, Dataset([{name: sample[None]} for sample in x])), folder / "nncf.onnx")
    return folder / "nncf.onnx"


def measure_digits() -> dict[str, Any]:
    """Train the network of digits, quantise it, and say how many of those held back each knows."""
    sys.path.insert(0, str(ROOT / "examples"))
    import torch
    from distill import train
    from mnist import digits, lenet5

    torch.manual_seed(0)
    data = digits()
    model = fastconv.from_torch(train(lenet5(), data, EPOCHS), data.x[:1])
    result = quantize(model, data.x[:DIGITS].numpy(), check=data.test_x.numpy(), labels=data.test_y.tolist())
    found = asdict(result.report.outputs[0])
    before, after = found["accuracy"]
    sys.stdout.write(f"lenet: accuracy {before:.2%} -> {after:.2%}, SNR {found['snr']:.1f} dB\n")
    return found


def compared(model: fastconv.Model, x: Array, expected: Array) -> Agreement:
    """Compare a network of 8 bits with what is expected of it."""
    got = np.concatenate([model(x[i : i + 4]) for i in range(0, len(x), 4)])
    return agreement(model.outputs[0].name, expected, got)


def measure(name: str, ways: tuple[str, ...], min_snr: float) -> dict[str, Any]:
    """Quantise a network in some ways, and say how each compares."""
    define, prepare, size = NETWORKS[name]
    graph = define()
    seen, check = (prepare(crops(n, seed, size)) for n, seed in ((CALIBRATION, 1), (CHECK, 2)))
    model = fastconv.Model(graph)
    expected = np.concatenate([model(check[i : i + 4]) for i in range(0, len(check), 4)])
    found: dict[str, Any] = {}

    def say(way: str, result: fastconv.Model, seconds: float) -> None:
        found[way] = asdict(compared(result, check, expected)) | {"seconds": seconds}
        if way == "min_snr":
            found[way]["min_snr"] = min_snr
        f = found[way]
        sys.stdout.write(
            f"{name:20} {way:12} SNR {f['snr']:5.1f} dB  first {f['top1']:6.1%}  five {f['top5']:6.1%}"
            f"  KL {f['kl']:.4f}  probability {f['probability']:.4f}  {seconds:.0f} s\n"
        )
        sys.stdout.flush()

    with tempfile.TemporaryDirectory() as name_of_folder:
        folder = Path(name_of_folder)
        to_file(graph, folder / "net.onnx")
        for way in ways:
            start = time.perf_counter()
            if way in ("fastconv", "min_snr"):
                least = min_snr if way == "min_snr" else None
                made = quantize(graph, seen, check=check[:1], min_snr=least)
                sys.stdout.write(f"{len(made.report.kept)} layers in float\n")
                result = made.model()
            elif way == "NNCF":
                result = fastconv.load(nncf(folder / "net.onnx", seen, folder))
            else:
                result = fastconv.load(theirs(folder / "net.onnx", seen, way, folder))
            say(way, result, time.perf_counter() - start)
    return found


def table(record: dict[str, Any]) -> str:
    """A row for each network and way to quantise it."""
    head = ["network", "quantised by", "SNR, dB", "same first class", "of the first five", "KL"]
    rows = [[*head, "largest difference of probabilities"]]
    for network, ways in record["networks"].items():
        for way, found in ways.items():
            by = WAYS[way].format(**found)
            shares = [f"{100 * found[key]:.1f} %" for key in ("top1", "top5")]
            rows.append([network, by, f"{found['snr']:.1f}", *shares, f"{found['kl']:.4f}",
                         f"{found['probability']:.3f}"])  # fmt: skip
    packages = ", ".join(f"{name} {number}" for name, number in record["packages"].items())
    about = f"fastconv {record['version']}, {packages}; {record['date']}, commit {record['git_sha']}."
    before, after = record["lenet"]["accuracy"]
    digits = (
        f"A LeNet that was trained on 4,000 digits knows {before:.1%} of 1,000 others, in 8 bits {after:.1%}"
        f" (SNR {record['lenet']['snr']:.1f} dB)."
    )
    return "\n\n".join((markdown(rows, left=2), paragraph(digits), paragraph(about)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    cases = f"some of {', '.join((*NETWORKS, LENET))}"
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=cases)
    parser.add_argument("--min-snr", type=float, default=MIN_SNR, help="of the way of that name, in decibels")
    parser.add_argument("--ways", default=",".join(WAYS), help=f"some of {', '.join(WAYS)}")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    if unknown := set(args.networks) - {*NETWORKS, LENET}:
        parser.error(f"networks: expected {cases}, got {', '.join(sorted(unknown))}")
    if args.report or args.check:
        text = table(json.loads(RECORD.read_text()))
        return update_page(PAGE, "quantize", text, check=not args.report)
    record = json.loads(args.json.read_text()) if args.json and args.json.exists() else {"networks": {}}
    for name in args.networks or (*NETWORKS, LENET):
        if name == LENET:
            record[LENET] = measure_digits()
        else:
            found = measure(name, tuple(args.ways.split(",")), args.min_snr)
            record["networks"][name] = record["networks"].get(name, {}) | found
        if args.json:
            ran = {way for ways in record["networks"].values() for way in ways}
            names = [name for name in PACKAGES if name != "nncf" or "NNCF" in ran]
            used = {name: version(name) for name in names if find_spec(MODULES.get(name, name))}
            record |= {**made_with(), "packages": used}
            args.json.write_text(json.dumps(record, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
