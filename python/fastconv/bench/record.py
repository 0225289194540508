"""Results as a file to keep (JSON) and as a table to read."""

from __future__ import annotations

import datetime
import importlib.metadata
import platform
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from fastconv import _core
from fastconv.bench.compare import OURS, Result
from fastconv.bench.engines import ENGINES
from fastconv.roofline import Peak


def git_sha() -> str | None:
    """Return the commit of the checkout that fastconv, or else the working directory, is in, or None.

    ``-dirty`` follows when tracked files differ from it.
    """
    for folder in (Path(__file__).parent, Path.cwd()):
        command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
        try:
            top = subprocess.run(
                ["git", "-C", str(folder), "rev-parse", "--show-toplevel"],
                capture_output=True, text=True, check=True,
            ).stdout.strip()  # fmt: skip
            if (Path(top) / "python" / "fastconv").is_dir():
                return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            continue
    return None


def as_record(kind: str, results: Sequence[Result], peaks: Iterable[Peak], *, rounds: int) -> dict[str, Any]:
    """Return everything that a results file holds.

    Parameters
    ----------
    kind : str
        ``"gemm"``, ``"conv"`` or ``"model"``.
    results : sequence of Result
        What was measured.
    peaks : iterable of Peak
        The roof of each number of threads.
    rounds : int
        How many turns each variant had.

    Returns
    -------
    dict
        Plain values, ready for :func:`json.dump`.
    """
    roofs = {peak.threads: peak for peak in peaks}
    engines = {OURS} | {name.partition("/")[0] for result in results for name in result.timings}
    return {
        "kind": kind,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "git_sha": git_sha(),
        "cpu": _core.cpu_info()["model"],
        "tier": _core.active_tier(),
        "packages": {
            "python": platform.python_version(),
            **{ENGINES[name].package: _version(ENGINES[name].package) for name in sorted(engines)},
        },
        "rounds": rounds,
        "peaks": {str(t): {"gflops": p.gflops, "tier": p.tier, "spread": p.spread} for t, p in roofs.items()},
        "cases": [result.as_dict(roofs[result.threads].gflops) for result in results],
    }


def _version(name: str) -> str:
    return _core.__version__ if name == OURS else importlib.metadata.version(name)


COLUMNS = ("case", "threads", OURS, "GFLOP/s", "% of peak", "best peer", "", "ratio")
_FORMAT = "{:34} {:>7} {:>11} {:>8} {:>9}  {:20} {:>11} {:>6}"


def header() -> str:
    """Return the head of the table of results."""
    return _FORMAT.format(*COLUMNS).rstrip()


def row(result: Result, peak_gflops: float) -> str:
    """Return one result as a line under :func:`header`; the ratio is the peer's time over ours."""
    us, peer, ratio = result.best(ours=True), result.best(ours=False), result.ratio()
    assert us is not None
    rate = result.gflops(us)
    cells = [result.case.name, result.threads, f"{result.timings[us].min_ms:.3f} ms", f"{rate:.1f}"]
    cells.append(f"{100 * rate / peak_gflops:.1f}")
    if peer is not None:
        cells += [peer, f"{result.timings[peer].min_ms:.3f} ms", f"{ratio:.2f}"]
    return _FORMAT.format(*cells, *[""] * (len(COLUMNS) - len(cells))).rstrip()
