"""examples/: the loss of distillation against numpy, and the demonstration from first to last stage."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastconv

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

EXAMPLES = Path(__file__).parents[2] / "examples"
Array = np.ndarray[Any, Any]


@pytest.fixture(autouse=True)
def examples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    for name in ("mnist", "distill", "compress_mnist"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def probabilities(scores: Array, temperature: float) -> Array:
    e = np.exp(scores / temperature - (scores / temperature).max(1, keepdims=True))
    return np.asarray(e / e.sum(1, keepdims=True))


@pytest.mark.parametrize(("temperature", "alpha"), [(1.0, 0.5), (4.0, 0.9), (20.0, 1.0)])
def test_the_loss_of_distillation(temperature: float, alpha: float) -> None:
    """(1 - a) cross entropy + a T^2 KL(teacher || student) at temperature T, as Hinton et al. have it."""
    from distill import distillation_loss

    rng = np.random.default_rng(0)
    student, teacher, labels = rng.normal(0, 3, (6, 5)), rng.normal(0, 3, (6, 5)), rng.integers(0, 5, 6)
    p, q = probabilities(teacher, temperature), probabilities(student, temperature)
    soft = temperature**2 * (p * np.log(p / q)).sum(1).mean()
    hard = -np.log(probabilities(student, 1.0)[np.arange(6), labels]).mean()
    given = torch.tensor(student), torch.tensor(teacher)
    found = distillation_loss(*given, torch.tensor(labels), temperature, alpha)
    assert float(found) == pytest.approx((1 - alpha) * hard + alpha * soft, rel=1e-9)
    assert float(distillation_loss(*given, None, temperature)) == pytest.approx(soft, rel=1e-9)


def test_moved_images_keep_their_pixels() -> None:
    from distill import moved

    torch.manual_seed(0)
    x = torch.zeros(50, 1, 28, 28)
    x[:, 0, 14, 9] = 1
    y = moved(x)
    at = y[:, 0].reshape(50, -1).argmax(1)
    assert y.shape == x.shape
    assert (y.sum((1, 2, 3)) == 1).all()
    assert {(int(i) // 28 - 14, int(i) % 28 - 9) for i in at} <= {
        (a, b) for a in range(-2, 3) for b in range(-2, 3)
    }
    assert len(set(at.tolist())) > 5


def test_the_demonstration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With hardly any training, on digits that are bars: each stage is smaller, and the last file runs."""
    pytest.importorskip("matplotlib")
    import compress_mnist

    rng = np.random.default_rng(0)
    classes = np.arange(400) % 10
    x = rng.integers(0, 60, (400, 28, 28))
    for image, label in zip(x, classes, strict=True):
        image[:, 2 * label + 3 : 2 * label + 6] = 255
    with gzip.open(tmp_path / "digits.csv.gz", "wt") as file:
        np.savetxt(file, np.column_stack([x.reshape(400, -1), classes]), "%d", ",")
    monkeypatch.setattr(compress_mnist, "STEPS", (0.9,))
    monkeypatch.setattr(compress_mnist, "SECONDS", 0.01)
    names = {name: str(tmp_path / f"out.{name}") for name in ("json", "svg", "fcz")}
    arguments = ["--epochs", "2", "--data", str(tmp_path / "digits.csv.gz"), "--json", names["json"]]
    monkeypatch.setattr(
        "sys.argv", ["compress_mnist", *arguments, "--picture", names["svg"], "--output", names["fcz"]]
    )
    compress_mnist.main()
    assert "times smaller" in capsys.readouterr().out
    stages = json.loads(Path(names["json"]).read_text())["stages"]
    teacher, narrow, sparse, in_bytes, last = stages
    assert teacher["macs"] > 2 * narrow["macs"] == 2 * sparse["macs"]
    assert teacher["bytes"] > narrow["bytes"] > in_bytes["bytes"] > last["bytes"]
    assert Path(names["fcz"]).stat().st_size == last["bytes"]
    model = fastconv.load(names["fcz"])
    values = [np.unique(w).size for w in model.source_graph().constants.values() if w.ndim > 1]
    assert max(values) <= 64
    assert model(np.zeros((1, 1, 28, 28), np.float32)).shape == (1, 10)
    assert b"<svg" in Path(names["svg"]).read_bytes()
