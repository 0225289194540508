"""The page: complete, self-contained, and alive in a real browser."""

from __future__ import annotations

import html.parser
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fastconv.cli import main
from fastconv.cli import report as cli_report
from fastconv.graph.ir import GraphBuilder
from fastconv.models import MODELS
from fastconv.sweep import network_layers
from fastconv.testing.shapes import CONV_TABLES

pytestmark = pytest.mark.peers

ROOT = Path(__file__).parents[2]


OUTSIDE = r"url\((?!#)|@import|fetch\(|XMLHttpRequest|href=.(?!#|data:)"  # a part of the page is inside


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    picture = folder / "a picture.svg"
    picture.write_text('<?xml version="1.0"?>\n<svg viewBox="0 0 1 1"><title>dot</title></svg>')
    results = ROOT / "bench" / "results" / "model-mobile-avx2.json"
    path = folder / "report.html"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FASTCONV_ROOFLINE", str(folder / "roofline.json"))
        command = ["report", "mobilenet_v2", "--input-shape", "1,3,64,64", "--seconds", "0.1"]
        assert main([*command, "-o", str(path), "--bench", str(results), "--picture", str(picture)]) == 0
    return path


def small_network(folder: Path, *, inputs: int = 1) -> Path:
    """An ONNX file of a few layers, with an operator that the benchmarks' float64 walk does not know."""
    pytest.importorskip("onnx")
    from fastconv.exporters.onnx import to_proto

    rng = np.random.default_rng(1)
    b = GraphBuilder("small", {})
    y = b.input("x", ("batch", 3, 20, 20))
    for i, (oc, ic, group, k) in enumerate(((8, 3, 1, 3), (8, 8, 8, 3), (40, 8, 1, 1))):
        w = b.constant(f"w{i}", rng.standard_normal((oc, ic // group, k, k)).astype(np.float32))
        y = b.add("LeakyRelu", b.add("Conv", y, w, group=group, pads=[k // 2] * 4), alpha=0.1)
    for i in range(1, inputs):
        y = b.add("Add", y, b.input(f"x{i}", ("batch", 40, 20, 20)))
    b.output(b.add("GlobalAveragePool", y), shape=("batch", 40, 1, 1))
    path = folder / "small.onnx"
    path.write_bytes(to_proto(b.build()).SerializeToString())
    return path


@pytest.fixture(scope="module")
def full_page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of a network of the user's, compared and swept."""
    pytest.importorskip("matplotlib")
    folder = tmp_path_factory.mktemp("full")
    path = small_network(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FASTCONV_ROOFLINE", str(folder / "roofline.json"))
        patch.setattr(cli_report, "ROUNDS", 1)
        command = ["report", str(path), "--batch", "2", "--threads", "1", "--seconds", "0.02"]
        assert main([*command, "-o", str(folder / "r.html"), "--compare", "--peers", "", "--sweep"]) == 0
    return (folder / "r.html").read_text()


class Balance(html.parser.HTMLParser):
    """Fails where an element is closed that is not open."""

    void = frozenset({"meta", "line", "circle"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for key, value in attrs if key in ("src", "href")]
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.void:
            assert self.open.pop() == tag


def test_page_is_whole_and_refers_to_nothing_outside(page: Path) -> None:
    text = page.read_text()
    parser = Balance()
    parser.feed(text)
    assert parser.open == []
    assert parser.links == []
    assert not re.search(OUTSIDE, text)
    layers = re.search(r'<table class="sortable layers">.*?<tbody>(.*?)</tbody>', text)
    assert layers
    assert text.count('<circle class="layer"') == layers[1].count("<tr>") > 50
    assert "ms lost" in text
    assert "Beside other engines" in text
    assert "shufflenet_v2_x1_0" in text
    assert "<h2>a picture</h2>" in text
    assert "<title>dot</title>" in text


def test_the_network_is_compared_and_swept(full_page: str) -> None:
    parser = Balance()
    parser.feed(full_page)
    assert parser.open == []
    assert not re.search(OUTSIDE, full_page)
    heads = re.findall("<h2>(.*?)</h2>", full_page)
    assert heads[2:] == ["Beside other engines", "Algorithms of its layers", "Block sizes of its layers"]
    assert (
        '<td class="text">small x2</td><td>1</td>' in full_page
    )  # of this file, on a batch as it was profiled
    assert re.search(r">engine</th>.*<td class=.text.>fastconv</td><td>\d", full_page)
    assert "failed" not in full_page
    for layer in ("3&gt;8@20 k3", "8&gt;8@20 k3 g8", "8&gt;40@20 k1"):
        assert full_page.count(layer) >= 2, layer
    assert "the shipped sizes are within" in full_page


def test_a_failed_engine_is_told(tmp_path: Path) -> None:
    case = {
        "name": "alone",
        "threads": 1,
        "engines": {"ort": {"min_ms": 2.0, "median_ms": 3.0}},
        "failed": {"fastconv": "ValueError: not <this>"},
        "contests": {"network": {"ours": "fastconv", "best_peer": "ort", "ratio": None}},
    }
    record, out = tmp_path / "record.json", tmp_path / "r.html"
    record.write_text(json.dumps({"kind": "model", "cases": [case]}))
    command = ["report", "mobilenet_v2", "--input-shape", "1,3,32,32", "--seconds", "0.02"]
    assert main([*command, "-o", str(out), "--bench", str(record)]) == 0
    text = out.read_text()
    assert (
        '<td class="text">alone</td><td>1</td><td></td><td class="text">ort</td><td>2.00</td><td></td>'
    ) in text
    assert "fastconv failed: ValueError: not &lt;this&gt;" in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--compare", "--bench", "b.json"], "--bench: expected it or --compare, got both"),
        (["--peers", "numpy"], "--peers: expected --compare with it, got none"),
        (["--compare", "--peers", "nothing"], "peers: expected some of"),
        (["--compare"], "--compare: expected a network of one input, got 2"),
    ],
)
def test_refuses_comparisons(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = small_network(tmp_path, inputs=2)
    shapes = ["--input-shape", "1,3,20,20", "--input-shape", "1,40,20,20", "--seconds", "0.01"]
    if "nothing" in options:
        path, shapes = small_network(tmp_path), ["--seconds", "0.01"]
    assert main(["report", str(path), *shapes, "-o", str(tmp_path / "r.html"), *options]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "r.html").exists()


def test_layers_of_a_network() -> None:
    """Those of ResNet-50 and MobileNet V2, as the benchmarks' tables have them from torchvision."""
    for name in ("resnet50", "mobilenet_v2"):
        architecture = MODELS[name]
        model = architecture(architecture.random_weights())
        found = network_layers(model, (2, 3, 224, 224))
        assert {replace(layer, name="") for layer in found} == {
            replace(layer, name="", padding=tuple(n for pads in zip(*layer.pads, strict=True) for n in pads))
            for layer in CONV_TABLES[name]
        }


def test_a_comparison_without_peers(tmp_path: Path) -> None:
    """A record of fastconv alone has no best peer, and no ratio."""
    case = {
        "name": "alone",
        "threads": 1,
        "engines": {"fastconv": {"min_ms": 12.5, "median_ms": 13.5}},
        "failed": {},
        "contests": {"network": {"ours": "fastconv", "best_peer": None, "ratio": None}},
    }
    record, out = tmp_path / "record.json", tmp_path / "r.html"
    record.write_text(json.dumps({"kind": "model", "cases": [case]}))
    command = ["report", "mobilenet_v2", "--input-shape", "1,3,32,32", "--seconds", "0.02"]
    assert main([*command, "-o", str(out), "--bench", str(record)]) == 0
    assert (
        '<td class="text">alone</td><td>1</td><td>12.50</td><td class="text"></td><td></td><td></td>'
    ) in out.read_text()
    assert '<td class="text">fastconv</td><td>12.50</td><td>13.50</td>' in out.read_text()


@pytest.mark.parametrize(
    ("option", "content", "message"),
    [
        ("--bench", "{}", "--bench: expected a file of"),
        ("--bench", "not json", "--bench: expected a file of"),
        ("--picture", "PNG", "expected an SVG document"),
    ],
)
def test_refuses(
    option: str, content: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file"
    file.write_text(content)
    assert main(["report", "resnet18", "-o", str(tmp_path / "r.html"), option, str(file)]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "r.html").exists()
