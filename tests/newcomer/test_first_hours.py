"""Three people's first hours, as the command lines and code blocks of the documentation.

Each is a session of commands in a folder of its own, in a process of its own, as somebody types them.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastconv
from fastconv.cli import build_parser

ROOT = Path(__file__).parents[2]
NET = "squeezenet1_1"


def type_in(folder: Path, line: str) -> str:
    """Run a command line, and return what it printed."""
    words = line.split()
    assert words[0] == "fastconv"
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=folder, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, (line, done.stderr)
    return done.stdout


def commands_of(page: str) -> list[str]:
    """Return the command lines of a page's code blocks."""
    fences = re.findall(r"^```(\w*)\n(.*?)^```", (ROOT / page).read_text(), re.M | re.S)
    blocks = [text for language, text in fences if language in ("", "sh", "bash", "console")]
    lines = (
        line.removeprefix("$ ").partition(" #")[0].strip() for block in blocks for line in block.split("\n")
    )
    return [line.partition(" > ")[0].partition(" | ")[0] for line in lines if line.startswith("fastconv ")]


@pytest.mark.parametrize("page", ["README.md", "docs/lab.md", "docs/quantize.md", "docs/sweeps.md"])
def test_every_command_of_a_page_is_one_that_there_is(page: str) -> None:
    parser, lines = build_parser(), commands_of(page)
    assert lines
    for line in lines:
        words = [word for word in line.replace("[", "").replace("]", "").split()[1:] if word != "..."]
        assert parser.parse_args(words) is not None, line


@pytest.mark.model
def test_who_deploys(tmp_path: Path) -> None:
    """Has weights, wants a file that opens at once, and the latency and the batch that pay."""
    weights = fastconv.models.squeezenet1_1.random_weights(num_classes=10)
    np.savez(tmp_path / "weights.npz", **weights)
    (tmp_path / "layers").mkdir()
    for name, array in weights.items():
        np.save(tmp_path / "layers" / f"{name}.npy", array)
    type_in(tmp_path, "fastconv convert weights.npz -o net.fcm --input-shape 1,3,64,64")
    told = [
        json.loads(type_in(tmp_path, f"fastconv run {model} --input-shape 1,3,64,64 --seconds 0.05 --json"))
        for model in ("net.fcm", "weights.npz", "layers")
    ]
    assert all(found["p99_ms"] >= found["median_ms"] >= found["milliseconds"] for found in told)
    assert len({json.dumps(found["outputs"]) for found in told}) == 1  # one network, three files
    x = np.ones((4, 3, 64, 64), np.float32)
    np.testing.assert_array_equal(
        fastconv.load(tmp_path / "net.fcm")(x)[2], fastconv.load(tmp_path / "net.fcm")(x[:1])[0]
    )


@pytest.mark.model
def test_who_measures(tmp_path: Path) -> None:
    """Wants to know where a network loses its time: counts, layers, a time line, a picture."""
    small = f"{NET} --input-shape 1,3,64,64"
    counted = type_in(tmp_path, f"fastconv profile {small} --count --csv").splitlines()
    assert len(counted) > 20
    type_in(tmp_path, f"fastconv profile {small} --threads 1 --seconds 0.1 --trace run.json")
    assert json.loads((tmp_path / "run.json").read_text())["traceEvents"]
    type_in(tmp_path, f"fastconv explain {small} --graph steps.svg --seconds 0.1")
    assert (tmp_path / "steps.svg").read_text().startswith("<svg")


def test_who_has_odd_networks() -> None:
    """Writes layers by hand: sequences, volumes, transposed ones, norms; asks what runs, and why."""
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape, dtype=np.float32)

    sequence = fastconv.Conv1d(normal(8, 4, 5), padding=2)
    assert sequence(normal(2, 4, 30)).shape == (2, 8, 30)
    volume = fastconv.Conv3d(normal(8, 4, 3, 3, 3), stride=2)
    up = fastconv.ConvTranspose3d(normal(8, 4, 2, 2, 2), stride=2)
    clip = normal(1, 4, 9, 9, 9)
    assert up(volume(clip)).shape == (1, 4, 8, 8, 8)
    assert "last call" in volume.explain()
    tokens = fastconv.layer_norm(fastconv.linear(normal(2, 7, 16), normal(32, 16)))
    assert tokens.shape == (2, 7, 32)
    assert fastconv.group_norm(clip, 2).shape == clip.shape
