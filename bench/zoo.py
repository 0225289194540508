"""The architectures that people have, torchvision's and timm's, beside ONNX Runtime: which of them lose?

    python bench/zoo.py --export zoo                        # every network as an ONNX file; half an hour
    python bench/zoo.py --time zoo --json bench/results/lab/zoo-avx512.json
    python bench/zoo.py --time zoo --only convnext regnet   # those that have one of the words in their name
    python bench/zoo.py --report                            # the table of docs/bench.md
    python bench/zoo.py --check                             # whether it says what was measured

Networks have random weights from a seed, one image and, where they take any, small sizes. Batch
normalisations have the statistics of two random images: with those that they are made with, activations die
out, and denormals are timed. Both engines run in this process on one thread, call by call in turns; what is
timed is that thread's processor time, which does not grow where other processes take turns on the core. A
ratio is ONNX Runtime's fastest call over fastconv's. The outputs are compared: what is off by more than 1e-3
of the largest value counts as an error.

``--before FILE`` puts the ratios of an earlier run beside those of this one in the record. Time it on the
same machine and files, with the earlier version of fastconv on the path.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

import fastconv
from fastconv import _core
from fastconv._text import markdown, paragraph, update_page
from fastconv.lab.compare.record import geometric_mean
from fastconv.lab.machine.setting import made_with

ROOT = Path(__file__).parents[1]
RESULTS, PAGE = ROOT / "bench" / "results" / "lab", ROOT / "docs" / "bench.md"

TORCHVISION = """
    alexnet vgg16 densenet121 googlenet inception_v3 mnasnet1_0 regnet_x_400mf regnet_y_400mf
    shufflenet_v2_x1_0 squeezenet1_1 convnext_tiny efficientnet_b0 efficientnet_v2_s swin_t swin_v2_t
    vit_b_16 maxvit_t resnet50 mobilenet_v2 mobilenet_v3_large resnext50_32x4d wide_resnet50_2
"""
SEGMENTATION = "fcn_resnet50 deeplabv3_mobilenet_v3_large lraspp_mobilenet_v3_large"
TIMM = """
    resnetv2_50 resnest26d skresnet18 seresnet50 ecaresnet50t res2net50_26w_4s dla34 dla46x_c
    hrnet_w18_small dpn68 ghostnet_100 ghostnetv2_100 mixnet_s mobileone_s0 repvgg_a0 edgenext_xx_small
    convnextv2_atto convnext_atto convmixer_768_32 cspdarknet53 cspresnet50 darknet53 nfnet_f0
    eca_nfnet_l0 dm_nfnet_f0 xception41 legacy_xception fbnetc_100 fbnetv3_b tinynet_c lcnet_050
    hardcorenas_a mobilenetv4_conv_small mobilenetv4_hybrid_medium fastvit_t8 repghostnet_100 rexnet_100
    ese_vovnet19b_dw selecsls42b levit_128s poolformer_s12 poolformerv2_s12 efficientformer_l1
    efficientformerv2_s0 gernet_s mobilevit_xs mobilevitv2_050 coatnet_nano_rw_224 focalnet_tiny_srf
    inception_next_atto semnasnet_100 spnasnet_100 tresnet_m visformer_tiny botnet26t_256 lambda_resnet26t
    regnetz_c16 repvit_m0_9 starnet_s1 efficientvit_b0 efficientvit_m0 vovnet39a sebotnet33ts_256
    inception_v4 inception_resnet_v2 hgnet_tiny hgnetv2_b0 rdnet_tiny mambaout_femto shvit_s1
    swiftformer_xs xcit_nano_12_p16_224 pit_ti_224 davit_tiny
"""

ROUNDS, SECONDS = 8, 4.0  # of turns, and after how long fewer will do
WRONG = 1e-3


# ---- files -------------------------------------------------------------------------------------------------


def modules(only: Sequence[str]) -> Iterator[tuple[str, Any, int]]:
    """Yield each architecture's file name, module and image size."""
    import timm
    import torch
    import torchvision

    class Picture(torch.nn.Module):  # type: ignore[misc]
        """A segmentation network's main output."""

        def __init__(self, net: Any) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: Any) -> Any:
            return self.net(x)["out"]

    def wanted(name: str) -> bool:
        return not only or any(word in name for word in only)

    for arch in TIMM.split():
        if wanted(f"timm_{arch}"):
            torch.manual_seed(0)
            net = timm.create_model(arch, pretrained=False, exportable=True)
            size = net.default_cfg["input_size"][1]
            fixed = net.default_cfg.get("fixed_input_size") or arch.endswith("_256") or "ts_256" in arch
            yield f"timm_{arch}", net, size if fixed else min(size, 224)
    for arch in TORCHVISION.split():
        if wanted(f"tv_{arch}"):
            torch.manual_seed(0)
            plain = {"init_weights": False} if arch in ("googlenet", "inception_v3") else {}
            net = getattr(torchvision.models, arch)(weights=None, **plain)
            yield f"tv_{arch}", net, 299 if arch == "inception_v3" else 224
    for arch in SEGMENTATION.split():
        if wanted(f"tv_{arch}"):
            torch.manual_seed(0)
            make = getattr(torchvision.models.segmentation, arch)
            yield f"tv_{arch}", Picture(make(weights=None, weights_backbone=None)), 256


def export(folder: Path, only: Sequence[str]) -> None:
    """Write what is not there yet."""
    import torch

    folder.mkdir(exist_ok=True)
    for name, net, size in modules(only):
        path = folder / f"{name}.onnx"
        if path.exists():
            continue
        net.eval()
        norms = [m for m in net.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
        for norm in norms:
            norm.momentum = None  # the mean of what comes, which is one batch
            norm.reset_running_stats()
            norm.train()
        with torch.no_grad():
            net(torch.randn(2, 3, size, size))
        net.eval()
        with warnings.catch_warnings():  # with gradients: without, attention is an operator of torch's own
            warnings.simplefilter("ignore")
            torch.onnx.export(net, torch.rand(1, 3, size, size), str(path), dynamo=False, opset_version=17)
        print(path, flush=True)


# ---- time --------------------------------------------------------------------------------------------------


def measure(path: Path, rounds: int) -> dict[str, Any]:
    """Time a file in both engines, in turns."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    info = session.get_inputs()[0]
    x = np.random.default_rng(0).random(info.shape, np.float32)
    try:
        model = fastconv.load(path)
        y = model.run(None, {info.name: x})[0]
    except fastconv.FastconvError as error:
        return {"network": path.stem, "error": f"{type(error).__name__}: {error}"}
    expected = session.run(None, {info.name: x})[0]
    error = float(np.abs(y - expected).max() / max(1e-30, np.abs(expected).max()))  # some heads start as 0
    if not error <= WRONG:
        return {"network": path.stem, "error": f"off by {error:.1e} of the largest value"}
    ours, theirs, start = [], [], time.perf_counter()
    for i in range(rounds):
        for run, times in ((model.run, ours), (session.run, theirs)):
            begin = time.thread_time()
            run(None, {info.name: x})
            times.append(time.thread_time() - begin)
        if i >= 3 and time.perf_counter() - start > SECONDS:
            break
    return {"network": path.stem, "ms": 1e3 * min(ours), "ort_ms": 1e3 * min(theirs), "error": ""}


def compare(folder: Path, only: Sequence[str], rounds: int) -> dict[str, Any]:
    """Time all files of a folder."""
    fastconv.set_num_threads(1)
    made, results = made_with(), []
    for path in sorted(folder.glob("*.onnx")):
        if only and not any(word in path.stem for word in only):
            continue
        one = measure(path, rounds)
        results.append(one)
        row = one["error"] or f"{one['ms']:9.2f} ms, ONNX Runtime {one['ort_ms']:9.2f} ms {ratio(one):6.2f}"
        print(f"{one['network']:40}{row}", flush=True)
    return {
        **made,
        "cpu": _core.cpu_info()["model"],
        "tier": _core.active_tier(),
        "packages": {name: version(name) for name in ("onnxruntime", "timm", "torchvision")},
        "results": results,
    }


def ratio(one: dict[str, Any]) -> float:
    """ONNX Runtime's time over fastconv's."""
    return float(one["ort_ms"] / one["ms"])


# ---- the page ----------------------------------------------------------------------------------------------


def table(record: dict[str, Any]) -> str:
    """A row for each network, the worst ratio first."""
    before = record.get("before", {})
    found = [one for one in record["results"] if not one["error"]]
    rows = [["network", "ms", "ONNX Runtime ms", "ratio", *(["ratio before"] if before else [])]]
    for one in sorted(found, key=ratio):
        cells = [one["network"], f"{one['ms']:.3g}", f"{one['ort_ms']:.3g}", f"**{ratio(one):.2f}**"]
        if before:
            earlier = before.get(one["network"])
            cells.append("" if earlier is None else f"{earlier:.2f}")
        rows.append(cells)
    mean = [f"geometric mean of {len(found)}", "", "", f"**{geometric_mean([*map(ratio, found)]):.2f}**"]
    if before:
        whole = {one["network"] for one in found} <= set(before)
        mean.append(f"{geometric_mean([*before.values()]):.2f}" if whole else "")
    rows.append(mean)
    failed = [f"{one['network']}: {one['error']}" for one in record["results"] if one["error"]]
    packages = ", ".join(f"{name} {number}" for name, number in record["packages"].items())
    about = (
        f"{record['cpu']}, tier {record['tier']}, 1 thread; fastconv {record['version']}, {packages};"
        f" {record['date']}, commit {record['git_sha']}."
    )
    return "\n\n".join([markdown(rows), *failed, paragraph(about)])


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--export", type=Path, metavar="FOLDER", help="write the networks there")
    parser.add_argument("--time", type=Path, metavar="FOLDER", help="time the networks there")
    parser.add_argument("--only", nargs="+", default=[], metavar="WORD")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--before", type=Path, metavar="FILE", help="an earlier record, for its ratios")
    parser.add_argument("--report", action="store_true", help="write the table of docs/bench.md")
    parser.add_argument("--check", action="store_true", help="only compare it with the results")
    args = parser.parse_args()
    if args.export:
        export(args.export, args.only)
    if args.time:
        record = compare(args.time, args.only, args.rounds)
        if args.before:
            earlier = json.loads(args.before.read_text())["results"]
            record["before"] = {one["network"]: ratio(one) for one in earlier if not one["error"]}
        if args.json:
            args.json.write_text(json.dumps(record, indent=1) + "\n")
        return int(any(one["error"] for one in record["results"]))
    if args.report or args.check:
        records = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("zoo*.json"))]
        return update_page(PAGE, "zoo", "\n\n".join(map(table, records)), check=not args.report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
