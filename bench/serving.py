"""The server of examples/serve.py under rising load, beside ONNX Runtime in the same server.

    python bench/serving.py --json bench/results/lab/serving.json
    python bench/serving.py --report          # the table of docs/serving.md; --check only compares

Client and server share two cores; two workers, ResNet-50 with seeded weights, crops of packaged photos as
JPEG files of 500 x 375 pixels. First one request at a time, then as many at once as keep the workers busy,
which tells the most that the server can do. Then requests come at a constant rate, shares of that, whatever
the server does: each opens a connection of its own, at its time, so that a slow answer delays no other
request. At twice of what it can do it must refuse what it cannot do: a request without an answer is lost.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import http.client
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

import fastconv
from fastconv import _core, models
from fastconv._text import markdown, paragraph, update_page
from fastconv.lab.machine.setting import made_with
from fastconv.timing import percentile

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "bench"), str(ROOT / "examples")]

from scale import make_models, make_photos  # noqa: E402

RECORD, PAGE = ROOT / "bench" / "results" / "lab" / "serving.json", ROOT / "docs" / "serving.md"
NETWORK, WORKERS, PORT = "resnet50", 2, 8765
RUNTIMES = ("fastconv", "onnxruntime")
LOADS = (0.25, 0.5, 0.75, 0.9, 2.0)  # shares of what the server can do
REQUESTS = 200  # at each load
TIMEOUT = 30.0

Sample = tuple[int, float]  # status, 0 where no answer came, and seconds


def open_onnxruntime(path: str) -> Callable[[np.ndarray[Any, Any]], Any]:
    """Return a model of ONNX Runtime's, with one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    [name] = [one.name for one in session.get_inputs()]
    return lambda x: session.run(None, {name: x})[0]


def serve(runtime: str, folder: Path) -> None:
    """Run the server; in a process of its own."""
    import uvicorn
    from serve import Options, application

    opened = {
        "fastconv": partial(fastconv.load, folder / "net.fcm", threads=1),
        "onnxruntime": partial(open_onnxruntime, str(folder / "net.onnx")),
    }
    options = Options(opened[runtime], models.MODELS[NETWORK].preprocess, workers=WORKERS)
    uvicorn.run(application(options), port=PORT, log_level="warning")


@contextmanager
def server(runtime: str, folder: Path) -> Iterator[None]:
    """Start the server, and end it."""
    process = subprocess.Popen([sys.executable, __file__, "--serve", runtime, str(folder)])
    try:
        for _ in range(600):
            with contextlib.suppress(OSError):
                connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=5)
                connection.request("GET", "/health")
                if connection.getresponse().status == 200:
                    break
            if process.poll() is not None:
                raise RuntimeError(f"{runtime}: the server ended with {process.returncode}")
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait(30)


async def ask(photo: bytes) -> Sample:
    """Send one request over a connection of its own."""
    start = time.perf_counter()
    try:
        async with asyncio.timeout(TIMEOUT):
            reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
            head = f"POST /predict HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(photo)}"
            writer.write(f"{head}\r\n\r\n".encode() + photo)
            answer = await reader.read()
            writer.close()
            status = int(answer.split(b" ", 2)[1])
    except (OSError, TimeoutError, IndexError, ValueError):
        status = 0
    return status, time.perf_counter() - start


async def at_a_rate(photos: Sequence[bytes], rate: float, count: int) -> list[Sample]:
    """Send requests at a constant rate."""
    start, tasks = time.perf_counter(), []
    for i in range(count):
        await asyncio.sleep(max(0.0, start + i / rate - time.perf_counter()))
        tasks.append(asyncio.create_task(ask(photos[i % len(photos)])))
    return list(await asyncio.gather(*tasks))


async def at_once(photos: Sequence[bytes], clients: int, count: int) -> tuple[list[Sample], float]:
    """Send requests from some clients, each of which waits for its answer; also return requests a second."""
    left, samples = iter(range(count)), []

    async def client() -> None:
        for i in left:
            samples.append(await ask(photos[i % len(photos)]))

    start = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    return samples, count / (time.perf_counter() - start)


def summary(samples: Sequence[Sample]) -> dict[str, Any]:
    """Return how many had which answer, and percentiles of the time to one with a result."""
    seconds = sorted(took for status, took in samples if status == 200)
    statuses = Counter(str(status) for status, _ in samples)
    found = {f"p{share}": 1e3 * percentile(seconds, share / 100) for share in (50, 95, 99)}
    return {"statuses": dict(statuses), **found}


def measure(runtime: str, photos: Sequence[bytes], folder: Path) -> dict[str, Any]:
    """Put a server under rising load."""
    with server(runtime, folder):
        asyncio.run(at_once(photos, 2 * WORKERS, 20))
        alone, _ = asyncio.run(at_once(photos, 1, 60))
        full, most = asyncio.run(at_once(photos, 4 * WORKERS, REQUESTS))
        assert {status for status, _ in (*alone, *full)} == {200}, f"{runtime}: {Counter(s for s, _ in full)}"
        found = {"alone": summary(alone), "most": most, "loads": {}}
        for load in LOADS:
            samples = asyncio.run(at_a_rate(photos, load * most, REQUESTS))
            found["loads"][str(load)] = summary(samples)
            sys.stdout.write(f"{runtime} {load}: {found['loads'][str(load)]}\n")
            sys.stdout.flush()
    return found


def table(record: dict[str, Any]) -> str:
    """A row for each runtime and load."""
    rows = [["runtime", "load", "requests a second", "p50, ms", "p95, ms", "p99, ms", "p99 over one alone",
             "refused (503)", "lost"]]  # fmt: skip
    for runtime in RUNTIMES:
        found = record["runtimes"][runtime]
        one = found["alone"]
        loads = {"one at a time": one} | {
            f"{float(load):.0%} of the most": at for load, at in found["loads"].items()
        }
        for load, at in loads.items():
            share = float(load.split("%")[0]) / 100 if "%" in load else None
            rate = "" if share is None else f"{share * found['most']:.1f}"
            refused, served = at["statuses"].get("503", 0), at["statuses"].get("200", 0)
            lost = sum(at["statuses"].values()) - refused - served
            rows.append([
                runtime, load, rate, *(f"{at[key]:.1f}" for key in ("p50", "p95", "p99")),
                f"**{at['p99'] / one['p50']:.2f}**", str(refused), str(lost),
            ])  # fmt: skip
    named = ", ".join(f"{name} {number}" for name, number in record["packages"].items())
    about = (
        f"{record['cpu']}, tier {record['tier']}, fastconv {record['version']}, {named};"
        f" {REQUESTS} requests at each load; {record['date']}, commit {record['git_sha']}."
    )
    return f"{markdown(rows, left=2)}\n\n{paragraph(about)}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve(args.serve[0], Path(args.serve[1]))
        return 0
    if args.report or args.check:
        return update_page(PAGE, "serving", table(json.loads(RECORD.read_text())), check=not args.report)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_photos(folder)
        make_models(NETWORK, folder)
        photos = [path.read_bytes() for path in sorted((folder / "photos").iterdir())]
        runtimes = {runtime: measure(runtime, photos, folder) for runtime in RUNTIMES}
    packages = {name: version(name) for name in ("onnxruntime", "fastapi", "uvicorn")}
    about = {"cpu": _core.cpu_info()["model"], "tier": _core.active_tier(), "packages": packages}
    if args.json:
        args.json.write_text(json.dumps({**made_with(), **about, "runtimes": runtimes}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
