"""From a file to the first result: how long that takes and how much memory, in fresh processes.

    python bench/load.py resnet50 mobilenet_v2 --threads 1 --json load.json

Each round starts a new process for each engine, one after another. It imports the engine, which is not
counted, then loads the ONNX file and runs one image. The peak is the resident set's highest mark above what
it was after the import. Outputs are compared with float64. Best of the rounds; ratios are to the best peer.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fastconv.bench.cases import Case
from fastconv.bench.engines import environment
from fastconv.bench.networks import NetworkFiles, files_of, written
from fastconv.bench.record import made_with

ENGINES = ("fastconv", "ort", "openvino")
Array = np.ndarray[Any, np.dtype[Any]]


def resident(mark: str) -> float:
    """Return a mark of this process's memory from /proc, in MiB: VmRSS, or VmHWM, the highest."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(mark):
            return int(line.split()[1]) / 1024
    raise OSError(f"/proc/self/status: expected a line {mark}")


def loader(engine: str, threads: int) -> Callable[[Path, Array], Array]:
    """Import an engine and return a function that loads a file and runs it once."""
    if engine == "fastconv":
        import onnx  # noqa: F401

        import fastconv
        import fastconv.graph.model  # what load() would import now, and onnx
        import fastconv.importers.onnx

        fastconv.set_num_threads(threads)
        return lambda path, x: np.asarray(fastconv.load(path)(x))
    if engine == "ort":
        import onnxruntime as ort

        def run_ort(path: Path, x: Array) -> Array:
            options = ort.SessionOptions()
            options.intra_op_num_threads = threads
            session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            return np.asarray(session.run(None, {session.get_inputs()[0].name: x})[0])

        return run_ort
    import openvino as ov

    def run_openvino(path: Path, x: Array) -> Array:
        settings = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1}
        core = ov.Core()
        compiled = core.compile_model(
            core.read_model(path), "CPU", {**settings, "INFERENCE_NUM_THREADS": threads}
        )
        return np.asarray(compiled(x)[0])

    return run_openvino


def measure(engine: str, folder: Path, threads: int) -> dict[str, float]:
    """Load and run a network in this process."""
    files = NetworkFiles(folder)
    x, expected = files.x, files.expected
    run = loader(engine, threads)
    before = resident("VmRSS:")
    start = time.perf_counter()
    y = run(files.model, x)
    seconds = time.perf_counter() - start
    error = float(np.abs(y - expected).max() / np.abs(expected).max())
    if error > 1e-3:
        raise ValueError(f"{engine}: expected an error of at most 1e-3, got {error}")
    return {"ms": 1e3 * seconds, "peak_mib": resident("VmHWM:") - before}


def compare(name: str, threads: int, rounds: int, folder: Path) -> dict[str, Any]:
    """Measure all engines in turns, each time in a new process."""
    case = written(Case("model", name, {"model": name, "batch": 1}), folder)
    target = files_of(case).folder
    best: dict[str, dict[str, float]] = {}
    for _ in range(rounds):
        for engine in ENGINES:
            done = subprocess.run(
                [sys.executable, __file__, "--worker", engine, str(target), "--threads", str(threads)],
                env=environment(engine, threads, None), capture_output=True, text=True, check=True,
            )  # fmt: skip
            got = json.loads(done.stdout.splitlines()[-1])
            known = best.setdefault(engine, got)
            best[engine] = {key: min(known[key], got[key]) for key in got}
    return {
        "network": name,
        "threads": threads,
        **made_with(),
        "model_mib": files_of(case).model.stat().st_size / 2**20,
        "engines": best,
    }


def main() -> None:
    """Print a table, and write the figures where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("networks", nargs="*", default=["resnet50"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--worker", nargs=2, metavar=("ENGINE", "FOLDER"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        print(json.dumps(measure(args.worker[0], Path(args.worker[1]), args.threads)))
        return
    results = []
    print(f"{'network':22}" + "".join(f"{e + ' ms':>14}{'peak MiB':>10}" for e in ENGINES) + "   ratio")
    with tempfile.TemporaryDirectory() as folder:
        for name in args.networks:
            result = compare(name, args.threads, args.rounds, Path(folder))
            engines = result["engines"]
            ratio = min(engines[e]["ms"] for e in ENGINES[1:]) / engines["fastconv"]["ms"]
            cells = (f"{engines[e]['ms']:14.1f}{engines[e]['peak_mib']:10.0f}" for e in ENGINES)
            print(f"{name:22}" + "".join(cells) + f"{ratio:8.2f}", flush=True)
            results.append(result)
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
