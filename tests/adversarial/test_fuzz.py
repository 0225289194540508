"""Mutants of whole networks, 10,000 of them: only typed errors, no crash, no hang, no growth."""

from __future__ import annotations

import os
import re
import signal
import time
from typing import Any

import pytest

from adversarial import fuzz as fuzzing
from adversarial.__main__ import main
from adversarial.fuzz import Failure, Report, fuzz
from adversarial.mutants import mutant, networks, parts
from adversarial.sandbox import Sandbox

pytest.importorskip("onnx")

COUNT = 10_000


@pytest.mark.slow
def test_mutants_end_in_typed_errors() -> None:
    report = fuzz(0, COUNT)
    assert report.failures == []
    assert report.count == COUNT
    assert report.ends["ran"] > COUNT // 20  # some mutants mean something
    assert len(report.ends) >= 6  # and others are wrong in many ways


def test_a_seed_makes_one_mutant_and_others_others() -> None:
    assert len(networks()) == 9
    assert len(parts()) > 1000
    made = [mutant(seed) for seed in range(200)]
    assert made == [mutant(seed) for seed in range(200)]
    assert len(set(made)) > 190
    assert len(set(made) - set(parts())) > 180


# -- a failure is found, and by its seed ---------------------------------------------------------------

FAULTS: dict[int, Any] = {
    3: lambda: os.kill(os.getpid(), signal.SIGSEGV),
    5: lambda: time.sleep(60),
    7: lambda: [][1],
    11: lambda: bytearray(300 << 20),
}


def faulty_batch(seeds: range, corpus: str) -> Any:
    """Stand in for ``try_batch`` where some seeds are bad."""
    report = Report()
    before = fuzzing.peak_bytes()
    for seed in seeds:
        signal.setitimer(signal.ITIMER_REAL, 2)
        try:
            FAULTS.get(seed, lambda: None)()
            report.ends["ran"] += 1
        except Exception as error:
            report.ends["failed"] += 1
            report.failures.append(Failure(seed, type(error).__name__))
    assert corpus == "light"
    return report.ends, report.failures, fuzzing.peak_bytes() - before


def test_what_fails_is_told_by_its_seed(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzzing, "try_batch", faulty_batch)
    queue: Any = fuzzing.SimpleQueue()
    queue.put(sandbox)
    ends, failures = fuzzing._try(range(14), queue, "light")
    assert [(f.seed, f.what) for f in failures[:3]] == [(3, "SIGSEGV"), (5, "SIGALRM"), (7, "IndexError")]
    (grown,) = failures[3:]
    assert grown.seed == 11
    assert re.fullmatch(r"grew by (29\d|300) MiB", grown.what)  # pages may be used again
    assert ends == {"ran": 11, "failed": 3}


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--count", "20", "--seed", "5"]) == 0
    out = capsys.readouterr().out
    assert "20 mutants in" in out
    assert "0 failures" in out
