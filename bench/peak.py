"""The FMA peak of `fastconv roofline` beside an independent loop: C and inline assembly, compiled here.

    python bench/peak.py --rounds 20

Needs a C compiler (CC, or cc) and a processor with AVX2 or AVX-512. Both loops take turns on one thread, so
that a clock that moves moves for both; the best sample of each counts.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import subprocess
import tempfile
import time
from pathlib import Path

from fastconv import _core

CHAINS, FLOATS = 12, {"avx2": 8, "avx512": 16}
SOURCE = """
void loop(long steps) {{
  __asm__ volatile(
    {zeros}
    "1:\\n"
    {fmas}
    "dec %0\\n"
    "jnz 1b\\n"
    : "+r"(steps) : : "cc", {clobbers});
}}
"""


def independent_loop(tier: str, folder: Path) -> ctypes.CDLL:
    """Compile 12 chains of vfmadd231ps on registers, and nothing else but the loop's counter."""
    register = {"avx2": "ymm", "avx512": "zmm"}[tier]
    fmas = "\n    ".join(
        f'"vfmadd231ps %%{register}14, %%{register}15, %%{register}{i}\\n"' for i in range(CHAINS)
    )
    zeros = "\n    ".join(f'"vxorps %%xmm{i}, %%xmm{i}, %%xmm{i}\\n"' for i in range(16))
    clobbers = ", ".join(f'"xmm{i}"' for i in range(16))
    (folder / "loop.c").write_text(SOURCE.format(zeros=zeros, fmas=fmas, clobbers=clobbers))
    library = folder / "loop.so"
    command = [
        os.environ.get("CC", "cc"),
        "-O2",
        "-shared",
        "-fPIC",
        "-o",
        str(library),
        str(folder / "loop.c"),
    ]
    subprocess.run(command, check=True)
    return ctypes.CDLL(str(library))


def main() -> None:
    """Print both peaks and their ratio."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=20)
    args = parser.parse_args()
    tier = _core.active_tier()
    if tier not in FLOATS:
        parser.error(f"expected a tier among {', '.join(FLOATS)}, got {tier}")
    steps = 1_000_000
    flops = 2 * FLOATS[tier] * CHAINS * steps
    ours = theirs = 0.0
    with tempfile.TemporaryDirectory() as folder:
        loop = independent_loop(tier, Path(folder)).loop
        for _ in range(args.rounds):
            ours = max(ours, *_core.peak_fma(tier, 1, 0.02))
            for _ in range(8):
                start = time.perf_counter()
                loop(ctypes.c_long(steps))
                theirs = max(theirs, flops / (time.perf_counter() - start) * 1e-9)
    print(f"{tier}: fastconv {ours:.1f} GFLOP/s, independent loop {theirs:.1f}, ratio {ours / theirs:.3f}")


if __name__ == "__main__":
    main()
