"""From the start of a process to the first result of a network: imports, reading, planning and one run.

    python bench/first_result.py --json bench/results/lab/first_result.json
    python bench/first_result.py --report     # the table of docs/bench.md; --check only compares

Each turn starts a new process for each engine, one after another; it imports numpy and the engine, opens the
same ONNX file and runs one image, then says so. The time is that of whoever started it, and the processor
time, of all threads, is the process's own. Least of the turns, after one that is not counted: it leaves
compiled Python behind, as an installation does. The engine "numpy" loads the image and does nothing else, the
least that any engine in Python can take. Results are compared with float64.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import fastconv
from fastconv._text import markdown, paragraph, update_page
from fastconv.lab.compare.cases import Case
from fastconv.lab.compare.engines import environment
from fastconv.lab.compare.network_files import files_of
from fastconv.lab.compare.networks import written
from fastconv.lab.machine.setting import made_with

ROOT = Path(__file__).parents[1]
RECORD, PAGE = ROOT / "bench" / "results" / "lab" / "first_result.json", ROOT / "docs" / "bench.md"
NETWORKS = ("squeezenet1_1", "mobilenet_v2", "resnet50")

START = "import sys\nimport numpy as np\nmodel, image, result = sys.argv[1:]\nx = np.load(image)\n"
END = """
import resource
used = resource.getrusage(resource.RUSAGE_SELF)
print(used.ru_utime + used.ru_stime, flush=True)
np.save(result, y)
"""
ENGINES = {
    "numpy": "y = x",
    "fastconv": "import fastconv\ny = fastconv.load(model)(x)",
    "ort": """
import os
import onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = int(os.environ["OMP_NUM_THREADS"])
session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
(y,) = session.run(None, {session.get_inputs()[0].name: x})
""",
}


def once(engine: str, threads: int, folder: Path) -> dict[str, float]:
    """Measure one process, in milliseconds, and check its result."""
    inherited = environment(engine, threads, None)
    env = {name: value for name, value in inherited.items() if name != "PYTHONDONTWRITEBYTECODE"}
    files = [str(folder / name) for name in ("model.onnx", "x.npy", "y.npy")]
    command = [sys.executable, "-c", START + ENGINES[engine] + END, *files]
    start = time.perf_counter()
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        seconds = time.perf_counter() - start
    if process.returncode != 0:
        raise OSError(f"{engine}: expected a result, got exit code {process.returncode}")
    if engine != "numpy":
        y, expected = np.load(files[2]), np.load(folder / "expected.npy")
        error = float(np.abs(y - expected).max() / np.abs(expected).max())
        if error > 1e-3:
            raise ValueError(f"{engine}: expected an error of at most 1e-3, got {error}")
    return {"ms": 1e3 * seconds, "cpu_ms": 1e3 * float(line)}


def compare(name: str, threads: int, turns: int, folder: Path) -> dict[str, Any]:
    """Measure all engines in turns."""
    files = files_of(written(Case("model", name, {"model": name, "batch": 1}), folder))
    best: dict[str, dict[str, float]] = {}
    for turn in range(turns + 1):
        for engine in ENGINES:
            got = once(engine, threads, files.folder)
            if turn:
                known = best.setdefault(engine, got)
                best[engine] = {key: min(known[key], got[key]) for key in got}
    result = {"network": name, "threads": threads, "turns": turns, "engines": best}
    sys.stdout.write(f"{result}\n")
    return result


def table(record: dict[str, Any]) -> str:
    """A row for each network and number of threads."""
    head = ["network", "threads", "numpy alone", "fastconv", "ONNX Runtime", "ratio"]
    rows = [[*head, "processor: fastconv", "ONNX Runtime"]]
    for found in record["networks"]:
        numpy, ours, ort = (found["engines"][engine] for engine in ("numpy", "fastconv", "ort"))
        times = (f"{one['ms']:.0f}" for one in (numpy, ours, ort))
        processor = (f"{one['cpu_ms']:.0f}" for one in (ours, ort))
        ratio = f"**{ort['ms'] / ours['ms']:.2f}**"
        rows.append([found["network"], str(found["threads"]), *times, ratio, *processor])
    about = f"{record['cpu']}, tier {record['tier']}; {record['python']}, fastconv {record['version']};"
    about += f" {record['date']}, commit {record['git_sha']}."
    return f"{markdown(rows, left=1)}\n\n{paragraph(about)}"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("networks", nargs="*", default=NETWORKS)
    parser.add_argument("--threads", default="1,2", help="one number or several (default: 1,2)")
    parser.add_argument("--turns", type=int, default=12)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    if args.report or args.check:
        return update_page(PAGE, "first_result", table(json.loads(RECORD.read_text())), check=not args.report)
    with tempfile.TemporaryDirectory() as folder:
        networks = [
            compare(name, int(threads), args.turns, Path(folder))
            for name in args.networks
            for threads in args.threads.split(",")
        ]
    record = {**made_with(), "cpu": fastconv._core.cpu_info()["model"], "tier": fastconv._core.active_tier()}
    record |= {"python": f"python {sys.version.split()[0]}", "networks": networks}
    if args.json:
        args.json.write_text(json.dumps(record, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
