"""Where and of what a measurement was made: the machine, and the version, commit and day of fastconv."""

from __future__ import annotations

import datetime
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastconv import _core
from fastconv._text import counted
from fastconv.lab.machine.roof import Roof


def made_with() -> dict[str, Any]:
    """Say of which day, version and commit of fastconv a measurement is."""
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    return {"version": _core.__version__, "date": today, "git_sha": git_sha()}


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


@dataclass(frozen=True)
class Setting:
    """On what a sweep was measured.

    Attributes
    ----------
    cpu, tier : str
        The processor's name and the instruction set tier in use.
    threads : int
        Of every call; the most, where a sweep varies them.
    caches : dict of str to int
        Sizes of ``"l1d"``, ``"l2"`` and ``"l3"`` in bytes.
    peak_gflops : float
        The measured FMA peak of that many threads, the highest of any tier's.
    version, date : str
        Of fastconv, and the day.
    git_sha : str, optional
        The commit of the checkout.
    """

    cpu: str
    tier: str
    threads: int
    caches: dict[str, int]
    peak_gflops: float
    version: str
    date: str
    git_sha: str | None

    def __str__(self) -> str:
        return (
            f"{self.cpu}, tier {self.tier}, {counted(self.threads, 'thread')}, "
            f"measured FMA peak {self.peak_gflops:.1f} GFLOP/s"
        )


def setting(roof: Roof) -> Setting:
    """Describe this machine, with the highest peak that the roof has seen."""
    info, peak = _core.cpu_info(), roof.peak
    caches = dict(info["caches"])
    return Setting(info["model"], _core.active_tier(), peak.threads, caches, peak.gflops, **made_with())
