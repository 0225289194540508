"""What convolutions of signs are worth by the clock, beside those of numbers.

The tables of docs/compression.md:

    fastconv bench conv xnor --peers torch --isa avx2 --json bench/results/lab/xnor-avx2.json
    fastconv bench conv xnor --peers torch --json bench/results/lab/xnor-avx512.json
    python bench/xnor.py --report           # the table; --check only compares it

The layers are those of ResNet-50 that binary networks have most of: 3x3 of stride 1.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from fastconv._text import markdown, paragraph, update_page
from fastconv.lab.compare.engines import CONTESTS

ROOT = Path(__file__).parents[1]
RECORDS = [ROOT / "bench" / "results" / "lab" / f"xnor-{tier}.json" for tier in ("avx2", "avx512")]
PAGE = ROOT / "docs" / "compression.md"


def table(record: dict[str, Any]) -> str:
    """A row for each layer: how many times as fast it is as by other ways."""
    contests = CONTESTS["xnor"]
    peak = record["peaks"]["1"]["gflops"]
    rows = [["layer", "xnor ms", "products, times the FMA peak", *(contest.name for contest in contests)]]
    for case in record["cases"]:
        ours = case["engines"]["fastconv/xnor"]
        ratios = [case["contests"][contest.name]["ratio"] for contest in contests]
        rows.append(
            [
                case["name"].removesuffix(" signs"),
                f"{ours['min_ms']:.3f}",
                f"{ours['gflops'] / peak:.1f}",
                *(f"{ratio:.1f}" for ratio in ratios),
            ]
        )
    made = (
        f"{record['cpu']}, tier {record['tier']}, one thread; torch {record['packages']['torch']}, fastconv"
        f" {record['packages']['fastconv']}; {record['date']}, commit {record['git_sha']}."
    )
    return f"{markdown(rows)}\n\n{paragraph(made)}"


def main() -> int:
    """Write the tables, or compare them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--report", action="store_true", help=f"write the tables of {PAGE.name}")
    parser.add_argument("--check", action="store_true", help="say whether the tables are the records'")
    args = parser.parse_args()
    text = "\n\n".join(table(json.loads(path.read_text())) for path in RECORDS)
    if args.report or args.check:
        return update_page(PAGE, "xnor", text, check=args.check)
    sys.stdout.write(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
