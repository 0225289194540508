"""The peaks of `fastconv roofline` beside independent loops: C and inline assembly, compiled here.

    python bench/peak.py --rounds 20

For every tier of AVX2 or above and every dtype that it has an instruction for. Needs a C compiler (CC, or
cc). Both loops take turns on one thread, so that a clock that moves moves for both; the best sample of each
counts. Fails where they differ by more than 5 %.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from fastconv import _core

CHAINS, STEPS, APART = 12, 200_000, 0.05
REGISTERS = {"avx2": ("ymm", 8), "avx512": ("zmm", 16)}  # of a tier, and how many floats one holds
PER_LANE = {"f32": 1, "bf16": 2, "int8": 4}  # multiply-adds of an instruction, by dtype
# One multiply-add of chain {i}: registers 12 and up are operands, which stay 0, but 13, which is written.
INSTRUCTIONS = {
    "fma": ("vfmadd231ps %%{r}14, %%{r}15, %%{r}{i}",),
    "vdpbf16ps": ("vdpbf16ps %%{r}14, %%{r}15, %%{r}{i}",),
    "vpdpbusd": ("{vex}vpdpbusd %%{r}14, %%{r}15, %%{r}{i}",),
    "vpmaddubsw": (
        "vpmaddubsw %%{r}14, %%{r}15, %%{r}13",
        "vpmaddwd %%{r}12, %%{r}13, %%{r}13",
        "vpaddd %%{r}13, %%{r}{i}, %%{r}{i}",
    ),
}
SOURCE = """
void loop(long steps) {{
  __asm__ volatile(
    {zeros}
    "1:\\n"
    {body}
    "dec %0\\n"
    "jnz 1b\\n"
    : "+r"(steps) : : "cc", {clobbers});
}}
"""


@dataclass(frozen=True)
class Comparison:
    """The best rates of both loops, in 1e9 operations a second."""

    tier: str
    dtype: str
    instruction: str
    ours: float
    theirs: float

    @property
    def ratio(self) -> float:
        """Ours over theirs."""
        return self.ours / self.theirs


def independent_loop(tier: str, instruction: str, folder: Path) -> ctypes.CDLL:
    """Compile 12 chains of an instruction on registers, and nothing else but the loop's counter."""
    register, _ = REGISTERS[tier]
    vex = "%{vex%} " if tier == "avx2" else ""  # an avx2 machine may have AVX-VNNI and no AVX-512
    lines = [
        line.format(r=register, i=i, vex=vex) for i in range(CHAINS) for line in INSTRUCTIONS[instruction]
    ]
    source = SOURCE.format(
        zeros="\n    ".join(f'"vxorps %%xmm{i}, %%xmm{i}, %%xmm{i}\\n"' for i in range(16)),
        body="\n    ".join(f'"{line}\\n"' for line in lines),
        clobbers=", ".join(f'"xmm{i}"' for i in range(16)),
    )
    (folder / "loop.c").write_text(source)
    library = folder / "loop.so"
    compiler = os.environ.get("CC", "cc")
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", library, folder / "loop.c"], check=True)
    return ctypes.CDLL(str(library))


def compare(tier: str, dtype: str, rounds: int, *, until: float = 0.0) -> Comparison:
    """Run both loops in turns; fewer rounds where the best ones differ by less than the fraction `until`."""
    instruction = _core.peak_instructions(tier)[dtype]
    operations = 2 * PER_LANE[dtype] * REGISTERS[tier][1] * CHAINS * STEPS
    ours = theirs = 0.0
    with tempfile.TemporaryDirectory() as folder:
        loop = independent_loop(tier, instruction, Path(folder)).loop
        for _ in range(rounds):
            ours = max(ours, *_core.peak(tier, dtype, 1, 0.02))
            for _ in range(40):
                start = time.perf_counter()
                loop(ctypes.c_long(STEPS))
                theirs = max(theirs, operations / (time.perf_counter() - start) * 1e-9)
            if abs(ours / theirs - 1) < until:
                break
    return Comparison(tier, dtype, instruction, ours, theirs)


def main() -> int:
    """Print both peaks and their ratio; 1 where one differs too much."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=20)
    args = parser.parse_args()
    tiers = [tier for tier in _core.tiers() if tier in REGISTERS]
    if not tiers:
        parser.error(f"expected a tier among {', '.join(REGISTERS)}, got {', '.join(_core.tiers())}")
    apart = False
    for tier in tiers:
        for dtype in _core.peak_instructions(tier):
            found = compare(tier, dtype, args.rounds)
            apart |= abs(found.ratio - 1) > APART
            print(
                f"{tier:7} {dtype:5} {found.instruction:10} fastconv {found.ours:7.1f},"
                f" independent loop {found.theirs:7.1f}, ratio {found.ratio:.3f}"
            )
    return int(apart)


if __name__ == "__main__":
    sys.exit(main())
