"""In company: on a core that a neighbour burns, beside another library's threads, and with callers at once.

    python bench/contended.py --json bench/results/lab/contended-avx2.json
    python bench/contended.py --report                  # the tables of docs/process.md

Everything runs on the first two cores that the process may use, in a process for each engine, in turns.

- neighbour: the same case on a quiet machine and while another process keeps the second core busy, on two
  threads, and on one of ours. Medians.
- pool: the same on two threads, each call after a product of torch's of 1024 x 1024 x 1024 on two threads in
  the same process, whose workers then wait awake for more; and on one of ours. Medians of our calls alone.
- callers: two Python threads run one network each, all on two threads, or on one each. Images a second, and
  the median and the 95th percentile of a call.

Results are compared with float64 before anything is timed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from fastconv import _core
from fastconv._text import markdown, update_page
from fastconv.lab.compare.cases import Case
from fastconv.lab.compare.engines import environment, prepare
from fastconv.lab.compare.expected import expected
from fastconv.lab.compare.networks import written
from fastconv.lab.compare.suite import TOLERANCE, Worker
from fastconv.lab.machine.setting import made_with
from fastconv.testing.shapes import GemmShape

ROOT = Path(__file__).parents[1]
RESULTS, PAGE = ROOT / "bench" / "results" / "lab", ROOT / "docs" / "process.md"
TITLES = {
    "neighbour": "Beside a process that keeps the second core busy",
    "pool": "After a product of torch's, whose threads are still awake",
    "callers": "Two Python threads that call at once",
}
THREADS = 2
NETWORKS = ("resnet50", "mobilenet_v2", "squeezenet1_1")
PRODUCTS = (512,)
OURS = {"fastconv": THREADS, "fastconv 1 thread": 1}
PEERS = {
    "model": {"ort/sleep": THREADS, "openvino": THREADS},
    "gemm": {"numpy": THREADS, "torch": THREADS},
}
SECONDS = 3.0  # of a turn: 40 calls of the largest network
Found = dict[str, Any]


def network(name: str) -> Case:
    """A network on one image."""
    return Case("model", name, {"model": name, "batch": 1})


def product(n: int) -> Case:
    """A square product."""
    return Case.of(GemmShape(n, n, n))


@contextmanager
def neighbour(core: int) -> Iterator[Callable[[bool], None]]:
    """A process that keeps a core busy, and a function that stops it or lets it go on."""
    process = subprocess.Popen(["taskset", "-c", str(core), sys.executable, "-c", "while True: pass"])
    process.send_signal(signal.SIGSTOP)
    try:
        yield lambda busy: process.send_signal(signal.SIGCONT if busy else signal.SIGSTOP)
    finally:
        process.kill()
        process.wait()


def check(case: Case, engine: str, y: np.ndarray[Any, Any], right: np.ndarray[Any, Any]) -> None:
    """Raise where a result is wrong."""
    error = float(np.abs(y - right).max() / np.abs(right).max())
    if not error <= TOLERANCE[case.kind]:
        raise ValueError(f"{engine}, {case.name}: expected at most {TOLERANCE[case.kind]}, got {error}")


def beside_a_neighbour(case: Case, rounds: int, core: int, folder: Path) -> dict[str, Found]:
    """Time a case with and without a neighbour."""
    case = case if case.kind == "gemm" else written(case, folder)
    right = expected(case).output
    engines = {**OURS, **PEERS[case.kind]}
    workers = {name: Worker(name.partition(" ")[0], threads) for name, threads in engines.items()}
    times: dict[str, dict[str, list[float]]] = {name: {"quiet": [], "contended": []} for name in engines}
    try:
        for name, worker in workers.items():
            output = str(folder / "y.npy")
            reply = worker.ask(prepare=asdict(case), output=output)
            if "error" in reply:
                raise ValueError(f"{name}, {case.name}: {reply['error']}")
            check(case, name, np.load(output), right)
        with neighbour(core) as busy:
            for _ in range(rounds):
                for name, worker in workers.items():
                    for where, found in times[name].items():
                        busy(where == "contended")
                        found.append(1e3 * worker.ask(time=SECONDS)["median"])
                        busy(False)
    finally:
        for worker in workers.values():
            worker.close()
    return {
        name: {f"{where}_ms": statistics.median(t) for where, t in of.items()} for name, of in times.items()
    }


def alone(job: str, engine: str, threads: int, case: Case) -> Found:
    """Do a job in a process of its own."""
    command = [sys.executable, __file__, "--job", job, engine, str(threads), json.dumps(asdict(case))]
    variant = environment(engine, threads, None)
    found = subprocess.run(command, env=variant, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(found.stdout.splitlines()[-1]))


def checked(engine: str, threads: int, case: Case) -> Callable[[], object]:
    """Return an engine's run of a case, once its result is right."""
    prepared = prepare(engine, case, threads)
    check(case, engine, prepared.to_numpy(prepared.run()), expected(case).output)
    return prepared.run


def time_beside_torch(engine: str, threads: int, case: Case) -> Found:
    """Time a case's calls, each after a product of torch's on two threads."""
    import torch

    run = checked(engine, threads, case)
    torch.set_num_threads(THREADS)
    a = torch.rand(1024, 1024)
    times = []
    end = time.perf_counter() + 2 * SECONDS
    while time.perf_counter() < end:
        a.mm(a)
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return {"ms": 1e3 * statistics.median(times[1:])}


def time_callers(engine: str, threads: int, case: Case) -> Found:
    """Time two Python threads that run a network each, whose engine has so many threads."""
    runs = [checked(engine, threads, case) for _ in range(2)]
    times: list[list[float]] = [[], []]
    gate = threading.Barrier(2)

    def call(mine: int) -> None:
        runs[mine]()
        gate.wait()
        end = time.perf_counter() + 2 * SECONDS
        while (start := time.perf_counter()) < end:
            runs[mine]()
            times[mine].append(time.perf_counter() - start)

    callers = [threading.Thread(target=call, args=(i,)) for i in range(2)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    every = sorted(times[0] + times[1])
    rate = sum(len(t) / sum(t) for t in times)
    p95 = every[int(0.95 * len(every))]
    return {"images_per_s": rate, "median_ms": 1e3 * statistics.median(every), "p95_ms": 1e3 * p95}


JOBS = {"pool": time_beside_torch, "callers": time_callers}


def in_turns(job: str, case: Case, engines: Mapping[str, int], rounds: int, folder: Path) -> dict[str, Found]:
    """Do a job with each engine in turns, and take the median of each of its figures."""
    case = case if case.kind == "gemm" else written(case, folder)
    found: dict[str, list[Found]] = {name: [] for name in engines}
    for _ in range(rounds):
        for name, threads in engines.items():
            found[name].append(alone(job, name.partition(" ")[0], threads, case))
    return {name: {key: statistics.median(f[key] for f in of) for key in of[0]} for name, of in found.items()}


def rows(part: str, case: Case, found: Mapping[str, Found]) -> list[str]:
    """The figures of a case as lines."""
    return [
        f"{part:10}{case.name:16}{name:18}" + "".join(f"{key:>14} {value:8.2f}" for key, value in of.items())
        for name, of in found.items()
    ]


def table(record: Found) -> str:
    """The tables of a record, one for each part."""
    text = []
    for part, results in record["parts"].items():
        engines = list(dict.fromkeys(name for found in results.values() for name in found))
        figures = [key for found in results.values() for key in next(iter(found.values()))]
        rows = [["case", "", *engines]]
        for case, found in results.items():
            for key in dict.fromkeys(figures):
                cells = [f"{found[name][key]:.3g}" if name in found else "" for name in engines]
                rows.append([case, key.replace("_", " "), *cells])
        text += [f"### {TITLES[part]}", markdown(rows, left=2)]
    about = f"{record['cpu']}, tier {record['tier']}; {record['date']}, commit {record['git_sha']}."
    return "\n\n".join([*text, about])


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what is measured, and write it where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", choices=("neighbour", "pool", "callers"), action="append")
    parser.add_argument("--case", action="append", help="a network or a size of a product")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--job", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--report", action="store_true", help="write the tables of docs/process.md")
    parser.add_argument("--check", action="store_true", help="only compare them with the results")
    args = parser.parse_args(arguments)
    if args.report or args.check:
        records = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("contended*.json"))]
        return update_page(PAGE, "contended", "\n\n".join(map(table, records)), check=not args.report)
    if args.job:
        job, engine, threads, case = args.job
        print(json.dumps(JOBS[job](engine, int(threads), Case(**json.loads(case)))))
        return 0
    cores = sorted(os.sched_getaffinity(0))[:THREADS]
    os.sched_setaffinity(0, cores)
    names = args.case or [*NETWORKS, *map(str, PRODUCTS)]
    cases = [product(int(name)) if name.isdigit() else network(name) for name in names]
    record: Found = {
        **made_with(), "cpu": _core.cpu_info()["model"], "tier": _core.active_tier(),
        "threads": THREADS, "python": platform.python_version(), "parts": {},
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in args.part or ("neighbour", "pool", "callers"):
            results = record["parts"][part] = {}
            for case in [network("resnet18")] if part == "callers" else cases:
                if part == "neighbour":
                    found = beside_a_neighbour(case, args.rounds, cores[-1], folder)
                elif part == "pool":
                    engines = {**OURS, **({"numpy": THREADS} if case.kind == "gemm" else {})}
                    found = in_turns(part, case, engines, args.rounds, folder)
                else:
                    engines = {**OURS, "ort": THREADS, "ort 1 thread": 1}
                    found = in_turns(part, case, engines, args.rounds, folder)
                results[case.name] = found
                print("\n".join(rows(part, case, found)), flush=True)
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(record, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
