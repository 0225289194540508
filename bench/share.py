"""What shared weights in Huffman codes are worth: real networks, their files, and how fast these are decoded.

    python bench/share.py --json bench/results/lab/share.json
    python bench/share.py --report            # the tables of docs/deep_compression.md; --check only compares

Without training. A network whose weights share few values is compared with itself on 150 crops of packaged
photos, as in bench/quantize.py; that is agreement, not accuracy. Sizes are those of all constants: as they
are in floats, of these packed by zlib and lzma, and of the .fcz file. Decoding is timed on 64 MiB of numbers
drawn from a normal distribution and rounded to 32 values.
"""

from __future__ import annotations

import argparse
import json
import lzma
import sys
import tempfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

import fastconv
from fastconv._text import markdown, paragraph, update_page
from fastconv.compress import share
from fastconv.graph.coding import decode, encode
from fastconv.lab.machine.setting import made_with
from fastconv.lab.timing import timer

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "bench"))

from quantize import CHECK, NETWORKS, compared, crops  # noqa: E402

RECORD, PAGE = ROOT / "bench" / "results" / "lab" / "share.json", ROOT / "docs" / "deep_compression.md"
DATA = 32  # crops that decide where bits go
CASES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("open_nsfw", {"bits": 7, "aim": "entropy"}),
    ("open_nsfw", {"bits": 6, "aim": "entropy"}),
    ("efficientnet_lite0", {"min_snr": 27.0}),
    ("efficientnet_lite0", {"min_snr": 30.0}),
)
KEPT = {"dense": 1.0, "one in ten is not 0": 0.1}


def measure(name: str, options: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Write a small file of a network, and compare what it computes."""
    define, prepare, size = NETWORKS[name]
    graph = define()
    x, model = prepare(crops(CHECK, 2, size)), fastconv.Model(graph)
    expected = np.concatenate([model(x[i : i + 4]) for i in range(0, len(x), 4)])
    data = {"data": prepare(crops(DATA, 1, size))} if "min_snr" in options else {}
    path = folder / f"{name}.fcz"
    share(graph, **options, **data).save(path)
    found = compared(fastconv.load(path), x, expected)
    raw = b"".join(array.tobytes() for array in graph.constants.values())
    sizes = {"raw": len(raw), "zlib": len(zlib.compress(raw, 9)), "lzma": len(lzma.compress(raw)),
             "fcz": path.stat().st_size}  # fmt: skip
    result = {"network": name, "options": options, "bytes": sizes, "snr": found.snr, "top1": found.top1}
    sys.stdout.write(f"{result}\n")
    return result


def decoding() -> list[dict[str, Any]]:
    """Measure how fast an array is decoded, in bytes of the floats that come out."""
    rng = np.random.default_rng(0)
    rates = []
    for name, kept in KEPT.items():
        numbers = np.rint(rng.normal(0, 6, 1 << 24)).clip(-16, 15).astype(np.float32)
        numbers[rng.random(len(numbers)) >= kept] = 0
        coded, out = encode(numbers), np.empty_like(numbers)
        for threads in (1, 2):
            with fastconv.threads(threads):
                seconds = min(timer(lambda: decode(coded, out))(0.5).min for _ in range(3))  # noqa: B023
            rates.append({"weights": name, "threads": threads, "bytes_per_second": out.nbytes / seconds})
            sys.stdout.write(f"{rates[-1]}\n")
    return rates


def tables(record: dict[str, Any]) -> str:
    """A row for each network and way to share, and for each rate of decoding."""
    head = ["network", "options", "MiB", "zlib", "lzma", ".fcz", "times smaller", "SNR, dB"]
    rows = [[*head, "same first class"]]
    for found in record["networks"]:
        sizes = found["bytes"]
        rows.append([
            found["network"], ", ".join(f"{key} {value}" for key, value in found["options"].items()),
            *(f"{sizes[key] / 2**20:.2f}" for key in ("raw", "zlib", "lzma", "fcz")),
            f"{sizes['raw'] / sizes['fcz']:.1f}", f"{found['snr']:.1f}", f"{100 * found['top1']:.1f} %",
        ])  # fmt: skip
    speed = [["weights", "threads", "GB of floats a second"]]
    for rate in record["decoding"]:
        speed.append([rate["weights"], str(rate["threads"]), f"{rate['bytes_per_second'] / 1e9:.1f}"])
    about = f"{record['cpu']}, fastconv {record['version']}; {record['date']}, commit {record['git_sha']}."
    return "\n\n".join((markdown(rows, left=2), markdown(speed, left=1), paragraph(about)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    if args.report or args.check:
        return update_page(PAGE, "share", tables(json.loads(RECORD.read_text())), check=not args.report)
    with tempfile.TemporaryDirectory() as folder:
        networks = [measure(name, options, Path(folder)) for name, options in CASES]
    record = {**made_with(), "cpu": fastconv._core.cpu_info()["model"], "networks": networks}
    record["decoding"] = decoding()
    if args.json:
        args.json.write_text(json.dumps(record, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
