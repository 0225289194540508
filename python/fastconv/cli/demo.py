"""``fastconv demo``: real networks on real photos, then ResNet-50 against the machine's peak.

EfficientNet-Lite0 with its ImageNet weights names what six photos show; open_nsfw, a half-width ResNet-50
from an ONNX file, rates one of them; ResNet-50 with random weights is timed, and its rate is held against the
measured fp32 FMA peak. Nothing is downloaded: weights, photos and names come with ``fastconv[demo]``.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastconv._progress import track
from fastconv._text import counted
from fastconv.cli import output
from fastconv.cli.classify import DEFAULT_MODEL, classify, describe, open_classifier

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

ROUNDS = 10  # runs of ResNet-50 on each number of threads
NSFW_MEAN_BGR = (104.0, 117.0, 123.0)


def add(commands: Any) -> None:
    """Add the command's arguments."""
    parser = commands.add_parser("demo", help="see it work on photos", description=__doc__)
    output.add_json_flag(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the three parts."""
    import fastconv
    from fastconv.models import sample_photos

    config, photos = fastconv.show_config("dict"), sample_photos()
    if args.json:
        parts = {"images": classify_photos(photos), "open_nsfw": rate_photo(photos["chelsea"])}
        output.dump({"config": config, **parts, "resnet50": time_resnet50()})
        return 0

    tier, threads = config["tiers"]["used"], config["threads"]["used"]
    output.line(f"fastconv {config['version']} on {config['cpu']}, tier {tier}, {counted(threads, 'thread')}")
    output.line("\nEfficientNet-Lite0 with ImageNet weights, on photos of scikit-image and scikit-learn")
    for name, found in classify_photos(photos).items():
        describe(name, found)

    output.line("\nopen_nsfw, a half-width ResNet-50 with its own weights, from ONNX")
    rating = rate_photo(photos["chelsea"])
    output.line(f"chelsea  ({rating['milliseconds']:.1f} ms)")
    output.line(f"  {rating['sfw']:6.1%}  safe for work")

    output.line("\nResNet-50 with random weights, one image of 224x224")
    for t in time_resnet50():
        output.line(
            f"{counted(t['threads'], 'thread')}: {t['milliseconds']:.1f} ms, {t['gflops']:.0f} GFLOP/s, "
            f"{t['share_of_peak']:.0%} of the measured FMA peak of {t['peak_gflops']:.0f} GFLOP/s"
            " (work as the direct method counts it; Winograd does less)"
        )
    return 0


def classify_photos(photos: dict[str, Path]) -> dict[str, dict[str, Any]]:
    """Return the five best classes of each photo."""
    model, prepare = open_classifier(DEFAULT_MODEL)
    return {
        name: classify(model, prepare(photos[name]), 5) for name in track(list(photos), "classifying photos")
    }


def nsfw_input(path: Path) -> npt.NDArray[np.float32]:
    """Make open_nsfw's input: 256x256, the centre 224x224, BGR less the mean of its training set, NHWC."""
    import numpy as np
    from PIL import Image

    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB").resize((256, 256), Image.Resampling.BILINEAR))
    bgr = pixels[16:240, 16:240, ::-1].astype(np.float32)
    return (bgr - np.asarray(NSFW_MEAN_BGR, np.float32))[np.newaxis]


def rate_photo(path: Path) -> dict[str, float]:
    """Return open_nsfw's two probabilities for a photo, and the best time of a run."""
    import fastconv
    from fastconv.models import opennsfw_model
    from fastconv.timing import time_calls

    model, x = fastconv.load(opennsfw_model()), nsfw_input(path)
    sfw, nsfw = map(float, model(x)[0])
    return {"sfw": sfw, "nsfw": nsfw, "milliseconds": 1e3 * time_calls(lambda: model(x), 0.3).min}


def time_resnet50() -> list[dict[str, Any]]:
    """Time ResNet-50 on one thread and on all, next to the FMA peak of as many threads."""
    import numpy as np

    import fastconv
    from fastconv.lab.compare.cases import network_flops
    from fastconv.lab.machine import machine_peak
    from fastconv.models import resnet50

    model = resnet50(resnet50.random_weights())
    x = np.random.default_rng(0).standard_normal((1, 3, 224, 224), np.float32)
    flops = network_flops("resnet50")
    timings = []
    for count in sorted({1, fastconv.get_num_threads()}):
        with fastconv.threads(count):
            model(x)
            seconds, peak = [], 0.0
            for _ in track(range(ROUNDS), f"timing ResNet-50, {counted(count, 'thread')}"):
                peak = max(peak, machine_peak(count, seconds=0.02).gflops)
                start = time.perf_counter()
                model(x)
                seconds.append(time.perf_counter() - start)
        gflops = flops / min(seconds) * 1e-9
        timings.append(
            {
                "threads": count,
                "milliseconds": 1e3 * min(seconds),
                "gflops": gflops,
                "peak_gflops": peak,
                "share_of_peak": gflops / peak,
            }
        )
    return timings
