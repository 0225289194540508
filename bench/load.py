"""From a file to the first result: how long that takes and how much memory, in fresh processes.

    python bench/load.py resnet50 mobilenet_v2 --threads 1 --json load.json

Each round starts two new processes for each engine, one engine after another. The first imports the engine,
which is not counted, opens the ONNX file and runs one image; then it runs more, for the time of a run once
all is in place. The peak is the resident set's highest mark above what it was after the import. While the
second process, which does the same, is there too, both say what memory is theirs alone: the rest is shared.
Outputs are compared with float64. Best of the rounds; ratios are to the best peer. The engine "fcm" is
fastconv with the network's compiled file in the place of the ONNX file.
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

import fastconv
from fastconv.lab.compare.cases import Case
from fastconv.lab.compare.engines import environment
from fastconv.lab.compare.network_files import NetworkFiles, files_of
from fastconv.lab.compare.networks import written
from fastconv.lab.machine.setting import made_with

OURS, PEERS = ("fastconv", "fcm"), ("ort", "openvino")
ENGINES = (*OURS, *PEERS)
Array = np.ndarray[Any, np.dtype[Any]]
Run = Callable[[Array], Array]


def memory(file: str, mark: str) -> float:
    """Return the sum of this process's marks of a name in a file of /proc, in MiB."""
    lines = Path("/proc/self", file).read_text().splitlines()
    found = [int(line.split()[1]) for line in lines if line.startswith(mark)]
    if not found:
        raise OSError(f"/proc/self/{file}: expected a line {mark}")
    return sum(found) / 1024


def opener(engine: str, threads: int) -> Callable[[Path], Run]:
    """Import an engine and return a function that opens a file and returns what runs it."""
    if engine in OURS:
        import fastconv.graph.model
        import fastconv.importers.onnx

        if engine == "fastconv":
            import onnx  # noqa: F401  (what load() would import now)
        fastconv.set_num_threads(threads)
        suffix = ".onnx" if engine == "fastconv" else ".fcm"
        return lambda path: fastconv.load(path.with_suffix(suffix))
    if engine == "ort":
        import onnxruntime as ort

        def open_ort(path: Path) -> Run:
            options = ort.SessionOptions()
            options.intra_op_num_threads = threads
            session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            name = session.get_inputs()[0].name
            return lambda x: np.asarray(session.run(None, {name: x})[0])

        return open_ort
    import openvino as ov

    def open_openvino(path: Path) -> Run:
        settings = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1}
        core = ov.Core()
        compiled = core.compile_model(
            core.read_model(path), "CPU", {**settings, "INFERENCE_NUM_THREADS": threads}
        )
        return lambda x: np.asarray(compiled(x)[0])

    return open_openvino


def measure(engine: str, folder: Path, threads: int, runs: int) -> None:
    """Open and run a network in this process; write what was measured, and once more when a line comes."""
    files = NetworkFiles(folder)
    x, expected = files.x, files.expected
    start_of = opener(engine, threads)
    before = memory("status", "VmRSS:")
    private = memory("smaps_rollup", "Private_")
    start = time.perf_counter()
    run = start_of(files.model)
    opened = time.perf_counter()
    y = run(x)
    done = time.perf_counter()
    peak = memory("status", "VmHWM:") - before
    error = float(np.abs(y - expected).max() / np.abs(expected).max())
    if error > 1e-3:
        raise ValueError(f"{engine}: expected an error of at most 1e-3, got {error}")
    again = []
    for _ in range(runs):
        begin = time.perf_counter()
        run(x)
        again.append(time.perf_counter() - begin)
    found = {
        "ms": 1e3 * (done - start),
        "open_ms": 1e3 * (opened - start),
        "run_ms": 1e3 * min(again),
        "peak_mib": peak,
    }
    print(json.dumps(found), flush=True)
    if sys.stdin.readline():
        print(json.dumps({"private_mib": memory("smaps_rollup", "Private_") - private}), flush=True)
        sys.stdin.readline()


class Worker:
    """A process that measures; the values are those of its lines."""

    def __init__(self, engine: str, folder: Path, threads: int, runs: int) -> None:
        command = [sys.executable, __file__, "--worker", engine, str(folder)]
        self._process = subprocess.Popen(
            [*command, "--threads", str(threads), "--runs", str(runs)],
            env=environment(engine if engine in PEERS else "fastconv", threads, None),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def read(self) -> dict[str, float]:
        """Return the next values."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise OSError(f"{self._process.args}: expected a result, got exit code {self._process.wait()}")
        return dict(json.loads(line))

    def go_on(self) -> None:
        """Send a line."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def end(self) -> None:
        """Let the process end."""
        self._process.communicate()


def measure_once(engine: str, folder: Path, threads: int, runs: int) -> dict[str, float]:
    """Measure in a new process, and its own memory while a second one does the same."""
    first = Worker(engine, folder, threads, runs)
    found = first.read()
    second = Worker(engine, folder, threads, 1)
    second.read()
    first.go_on()
    found |= first.read()
    for worker in (first, second):
        worker.end()
    return found


def compare(name: str, threads: int, rounds: int, runs: int, folder: Path) -> dict[str, Any]:
    """Measure all engines in turns, each time in new processes."""
    case = written(Case("model", name, {"model": name, "batch": 1}), folder)
    files = files_of(case)
    compiled = files.model.with_suffix(".fcm")
    fastconv.load(files.model).save(compiled, packed=True)
    best: dict[str, dict[str, float]] = {}
    for _ in range(rounds):
        for engine in ENGINES:
            got = measure_once(engine, files.folder, threads, runs)
            known = best.setdefault(engine, got)
            best[engine] = {key: min(known[key], got[key]) for key in got}
    return {
        "network": name,
        "threads": threads,
        **made_with(),
        "model_mib": files.model.stat().st_size / 2**20,
        "compiled_mib": compiled.stat().st_size / 2**20,
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
    parser.add_argument("--runs", type=int, default=20, help="of one image, after the first (default: 20)")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--worker", nargs=2, metavar=("ENGINE", "FOLDER"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        measure(args.worker[0], Path(args.worker[1]), args.threads, args.runs)
        return
    results = []
    print(
        f"{'network':18}{'engine':10}{'open ms':>10}{'first ms':>10}{'ratio':>8}{'run ms':>10}"
        f"{'peak MiB':>10}{'own MiB':>10}"
    )
    with tempfile.TemporaryDirectory() as folder:
        for name in args.networks:
            result = compare(name, args.threads, args.rounds, args.runs, Path(folder))
            best = min(result["engines"][peer]["ms"] for peer in PEERS)
            for engine, found in result["engines"].items():
                ratio = f"{best / found['ms']:8.2f}" if engine in OURS else " " * 8
                print(
                    f"{name:18}{engine:10}{found['open_ms']:10.1f}{found['ms']:10.1f}{ratio}"
                    f"{found['run_ms']:10.1f}{found['peak_mib']:10.0f}{found['private_mib']:10.0f}",
                    flush=True,
                )
            results.append(result)
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
