"""The recipes of examples/scale: photos a second, beside one process, and with ONNX Runtime in them.

    python bench/scale.py futures joblib dask ray spark --json bench/results/lab/scale.json
    python bench/scale.py --report            # the table of docs/scale.md; --check only compares

Two workers on two cores, one thread each; the photos are crops of packaged ones as JPEG files of 500 x 375
pixels. Whoever predicts a photo writes with its row which process it is, and when it was done. The rate is of
the photos done while all workers were at work: from when the last of them has its first photo to when the
first has its last one. So what an engine costs between batches counts, and what a job costs once does not;
the start is a figure of its own, from the call to when each worker has done a photo, of the first job of a
process. The rate is the best of two jobs. One process is a loop over as many photos as a worker has, measured
just before, for a shared machine's clock changes. Records are added to those of the file.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

import fastconv
from fastconv import _core, models
from fastconv._text import markdown, paragraph, update_page
from fastconv.exporters.onnx import to_file
from fastconv.lab.machine.setting import made_with
from fastconv.predict import Predictor, pending, write_part

ROOT = Path(__file__).resolve().parents[1]
RECORD, PAGE = ROOT / "bench" / "results" / "lab" / "scale.json", ROOT / "docs" / "scale.md"
RECIPES = {
    "futures": "concurrent.futures",
    "joblib": "joblib",
    "dask": "Dask",
    "ray": "Ray Data",
    "spark": "Spark",
}
PACKAGES = {"joblib": "joblib", "dask": "dask", "ray": "ray", "spark": "pyspark"}
RUNTIMES = ("fastconv", "onnxruntime")
WORKERS = 2
PHOTOS = 768  # of a job; a loop has half of them, as a worker has
FILES = 64  # that differ


class TimedPredictor(Predictor):
    """The same, whose rows say which process has predicted a photo, and when it was done."""

    columns: ClassVar[Mapping[str, str]] = {**Predictor.columns, "process": "int64", "done": "float64"}

    def row(self, y: np.ndarray[Any, Any]) -> dict[str, Any]:
        return {**super().row(y), "process": os.getpid(), "done": time.monotonic()}


class OnnxRuntimePredictor(TimedPredictor):
    """The same with ONNX Runtime."""

    def open(self) -> Callable[[np.ndarray[Any, Any]], Any]:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        session = onnxruntime.InferenceSession(self.model, options, providers=["CPUExecutionProvider"])
        [name] = [one.name for one in session.get_inputs()]
        return lambda x: session.run(None, {name: x})[0]


def loop(predictor: Predictor, images: Path, out: Path, _workers: int) -> None:
    """One process."""
    write_part(predictor(pending(images, out)), out)


def make_photos(folder: Path) -> None:
    """Write jobs of many photos, whose files are links to a few."""
    sys.path.insert(0, str(ROOT / "bench"))
    from PIL import Image
    from quantize import crops

    few = folder / "photos"
    few.mkdir()
    for i, pixels in enumerate(crops(FILES, 1, 500)):
        Image.fromarray(pixels[:375]).save(few / f"{i:03}.jpg", quality=90)
    for count in (PHOTOS, PHOTOS // WORKERS):
        (folder / str(count)).mkdir()
        for i in range(count):
            (folder / str(count) / f"{i:05}.jpg").hardlink_to(few / f"{i % FILES:03}.jpg")


def make_models(network: str, folder: Path) -> None:
    """Write a network for both runtimes."""
    architecture = models.MODELS[network]
    graph = architecture.graph(architecture.random_weights())
    to_file(graph, folder / "net.onnx")
    fastconv.Model(graph).save(folder / "net.fcm", (1, 3, architecture.size, architecture.size))


def start_and_rate(done: list[list[float]]) -> tuple[float, float]:
    """Return when all workers are at work, and photos a second from then to when the first has nothing left.

    ``done`` has for each worker the seconds at which it has done a photo.
    """
    first, last = max(map(min, done)), min(map(max, done))
    if last <= first:
        raise ValueError(f"expected workers that are at work at one time, got {len(done)} that are not")
    return first, sum(first < at <= last for worker in done for at in worker) / (last - first)


def timed_jobs(recipe: str, runtime: str, network: str, folder: Path) -> dict[str, float]:
    """Run a job twice in this process; return seconds to start, and photos a second."""
    import pyarrow.parquet

    preprocess = models.MODELS[network].preprocess
    if runtime == "fastconv":
        predictor: Predictor = TimedPredictor(str(folder / "net.fcm"), preprocess)
    else:
        predictor = OnnxRuntimePredictor(str(folder / "net.onnx"), preprocess)
    alone = recipe == "loop"
    run = loop if alone else importlib.import_module(f"with_{recipe}").run
    workers = 1 if alone else WORKERS
    photos = folder / str(PHOTOS // WORKERS * workers)

    def job() -> tuple[float, float]:
        with tempfile.TemporaryDirectory(dir=folder) as out:
            begin = time.monotonic()
            run(predictor, photos, Path(out), workers)
            left = pending(photos, out)
            assert not left, f"{recipe}: {len(left)} photos without a row"
            rows = pyarrow.parquet.read_table(out).to_pylist()
        errors = {row["error"] for row in rows if row["error"] is not None}
        assert not errors, f"{recipe}: {errors}"
        done: dict[int, list[float]] = {}
        for row in rows:
            done.setdefault(row["process"], []).append(row["done"])
        assert len(done) == workers, f"{recipe}: expected {workers} processes, got {len(done)}"
        first, rate = start_and_rate(list(done.values()))
        return first - begin, rate

    (start, one), (_, two) = job(), job()
    return {"start": start, "rate": max(one, two)}


def in_a_process(recipe: str, runtime: str, network: str, folder: Path) -> dict[str, float]:
    """Do so in a process of its own, from which the engine's workers can import this file and the recipes.

    This file alone: others of its folder have names that packages have, which engines look for.
    """
    paths = [str(folder / "path"), str(ROOT / "examples" / "scale"), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    }
    code = "import sys, json, pathlib, scale; *a, f = sys.argv[1:]; r = scale.timed_jobs(*a, pathlib.Path(f))"
    command = [sys.executable, "-c", f"{code}; print('result', json.dumps(r))", recipe, runtime, network]
    run = subprocess.run([*command, str(folder)], env=environment, capture_output=True, text=True)
    results = [line for line in run.stdout.splitlines() if line.startswith("result ")]
    if run.returncode or not results:
        raise RuntimeError(f"{recipe} with {runtime}: exit status {run.returncode}\n{run.stderr[-4000:]}")
    found: dict[str, float] = json.loads(results[0].removeprefix("result "))
    sys.stdout.write(f"{network} {recipe} {runtime}: {found}\n")
    sys.stdout.flush()
    return found


def measure(recipe: str, network: str, folder: Path) -> dict[str, Any]:
    """Measure a recipe with both runtimes, and one process before them."""
    one = in_a_process("loop", "fastconv", network, folder)
    rates = {runtime: in_a_process(recipe, runtime, network, folder) for runtime in RUNTIMES}
    needed = {name: version(name) for name in ("onnxruntime", PACKAGES.get(recipe, "")) if name}
    about = {**made_with(), "cpu": _core.cpu_info()["model"], "tier": _core.active_tier(), "packages": needed}
    return {"recipe": recipe, "network": network, "one": one["rate"], "rates": rates, **about}


def keep(record: dict[str, Any], path: Path) -> None:
    """Add a record to a file, in the place of one of the same recipe and network."""
    before = json.loads(path.read_text()) if path.exists() else []
    same = [record[key] for key in ("recipe", "network")]
    others = [one for one in before if [one["recipe"], one["network"]] != same]
    path.write_text(json.dumps([*others, record], indent=1) + "\n")


def table(records: list[dict[str, Any]]) -> str:
    """A row for each recipe."""
    rows = [["recipe", "network", "start, s", "photos a second", "one process", "of two processes",
             "with ONNX Runtime", "over ONNX Runtime"]]  # fmt: skip
    order = list(RECIPES)
    records = sorted(records, key=lambda r: (r["network"], order.index(r["recipe"])))
    for record in records:
        ours, theirs = (record["rates"][runtime] for runtime in RUNTIMES)
        rows.append([
            RECIPES[record["recipe"]], record["network"], f"{ours['start']:.1f}", f"{ours['rate']:.1f}",
            f"{record['one']:.1f}", f"**{ours['rate'] / (WORKERS * record['one']):.2f}**",
            f"{theirs['rate']:.1f}", f"**{ours['rate'] / theirs['rate']:.2f}**",
        ])  # fmt: skip
    packages = {name: number for record in records for name, number in record["packages"].items()}
    last = max(records, key=lambda record: record["date"])
    named = ", ".join(f"{name} {number}" for name, number in packages.items())
    about = (
        f"{last['cpu']}, tier {last['tier']}, fastconv {last['version']}, {named}; {last['date']}, commit"
        f" {last['git_sha']}."
    )
    return f"{markdown(rows, left=2)}\n\n{paragraph(about)}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("recipes", nargs="*", metavar="RECIPE", help=f"some of {', '.join(RECIPES)}")
    parser.add_argument("--network", default="resnet50", choices=models.list(), help="with seeded weights")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    if unknown := set(args.recipes) - set(RECIPES):
        parser.error(f"recipes: expected some of {', '.join(RECIPES)}, got {', '.join(sorted(unknown))}")
    if args.report or args.check:
        return update_page(PAGE, "scale", table(json.loads(RECORD.read_text())), check=not args.report)
    with tempfile.TemporaryDirectory() as name:
        make_photos(Path(name))
        make_models(args.network, Path(name))
        (Path(name) / "path").mkdir()
        (Path(name) / "path" / "scale.py").symlink_to(Path(__file__).resolve())
        for recipe in args.recipes or RECIPES:
            found = measure(recipe, args.network, Path(name))
            if args.json:
                keep(found, args.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
