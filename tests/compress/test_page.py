"""``--html``: what each layer gains and loses, as a page."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastconv.cli import main
from fastconv.compress import quantize
from fastconv.compress.report import Cost
from fastconv.compress.search import Point
from fastconv.exporters.onnx import to_file
from fastconv.graph.ir import Graph
from fastconv.lab.draw.svg_losses import svg_costs, svg_front
from fastconv.lab.report import loss_page

pytest.importorskip("onnx")

Array = np.ndarray[Any, Any]
OUTSIDE = r"https?://|url\(|@import|fetch\(|<img|<link|src="
DISC = r'<circle class="layer" cx="([\d.]+)" cy="([\d.]+)" r="[\d.]+" fill="(#\w+)"[^>]*><title>([^<]*)'


def discs(picture: str) -> dict[str, tuple[float, float, str]]:
    """Return where each point of a picture is, and its colour, by the first line that it tells."""
    return {told.split("\n")[0]: (float(x), float(y), c) for x, y, c, told in re.findall(DISC, picture)}


def cost(name: str, before: float, after: float, loss: float, kind: str = "int8") -> Cost:
    return Cost(name, "Conv", kind, before, after, loss)


def test_layers_stand_by_what_they_gain_and_lose() -> None:
    layers = [cost("a", 3, 1, 1e-3), cost("b", 3, 2, 1e-5), cost("c", 1, 2, 1e-4, "f32")]
    found = discs(svg_costs(layers))
    (ax, ay, ac), (bx, by, bc), (cx, cy, cc) = (found[name] for name in "abc")
    assert ax - bx == pytest.approx((bx - cx) / 2, abs=0.2)  # gains of 2, 1 and -1
    assert by - cy == pytest.approx(cy - ay, abs=0.2)  # decades of loss, the largest on top
    assert by > cy
    assert ac == bc != cc


def test_a_layer_that_loses_nothing_and_one_that_gains_nothing_have_a_place() -> None:
    (only,) = discs(svg_costs([cost("a", 1, 1, 0.0)])).values()
    assert all(0 <= n <= 960 for n in only[:2])


def test_networks_stand_by_time_and_loss() -> None:
    kinds = ("int8", "int8"), ("int8", "f32"), ("f32", "f32")
    points = [Point(k, ms, loss) for k, ms, loss in zip(kinds, (1, 2, 3), (0.02, 0.002, 0), strict=True)]
    picture = svg_front(points, points, points[1], 0.01)
    found = discs(picture)
    (ax, ay, _), (bx, by, chosen), (cx, cy, other) = (
        found[f"{p.ms:.3f} ms, loss {p.loss:.3%}"] for p in points
    )
    assert bx - ax == pytest.approx(cx - bx, abs=0.2)
    assert ay < by < cy
    assert chosen != other
    (line,) = re.findall(r'y1="([\d.]+)" x2="[\d.]+" y2="\1" style="stroke:#D55E00"', picture)
    assert ay < float(line) < by  # the budget is between them


@pytest.fixture
def given(mobile: Callable[..., Graph], images: Array, tmp_path: Path) -> list[str]:
    to_file(mobile(), tmp_path / "net<1>.onnx")
    np.save(tmp_path / "x.npy", images[:4])
    return [str(tmp_path / "net<1>.onnx"), "--data", str(tmp_path / "x.npy")]


@pytest.mark.parametrize(("command", "pictures"), [("quantize", 1), ("optimize", 2)])
def test_the_page_has_the_pictures_and_the_table(
    given: list[str], tmp_path: Path, command: str, pictures: int
) -> None:
    page = tmp_path / "page.html"
    assert main([command, *given, "-o", str(tmp_path / "y.onnx"), "--html", str(page)]) == 0
    text = page.read_text("utf-8")
    assert not re.search(OUTSIDE, text)
    assert "prefers-color-scheme: dark" in text
    assert "<h1>net&lt;1&gt; in 8 bits</h1>" in text
    drawn = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
    assert len(drawn) == pictures
    assert {"stem", "expand", "depthwise", "project", "last", "classifier"} >= set(discs(drawn[0]))
    assert len(discs(drawn[0])) >= 4  # a layer may take too little to be timed
    for name in ("stem", "depthwise", "classifier"):
        assert f'<td class="text">{name}</td>' in text
    if command == "optimize":
        assert "the power of the error in output &#x27;y&#x27;" in text
        assert "chosen</td>" in text


@pytest.mark.parametrize("command", ["quantize", "optimize"])
def test_its_path_is_checked_first(
    given: list[str], tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "y.onnx"
    assert main([command, *given, "-o", str(out), "--html", str(tmp_path / "no" / "page.html")]) == 2
    assert "--html: expected a folder that exists" in capsys.readouterr().err
    assert main([command, *given, "-o", str(out), "--html", str(tmp_path / "page.pdf")]) == 2
    assert "--html: expected a file ending in .html" in capsys.readouterr().err
    assert not out.exists()


def test_a_report_without_times_has_its_table(mobile: Callable[..., Graph], images: Array) -> None:
    text = loss_page(quantize(mobile(), images[:4], exclude=["stem"]), "net")
    assert "<svg" not in text
    assert "No layer was measured" in text
    assert '<td class="text">excluded</td>' in text
