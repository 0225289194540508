"""The page: complete, self-contained, and alive in a real browser."""

from __future__ import annotations

import html.parser
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from fastconv.cli import main

pytestmark = pytest.mark.peers

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ROOT = Path(__file__).parents[2]


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
    assert not re.search(r"url\(|@import|fetch\(|XMLHttpRequest", text)
    layers = re.search(r'<table class="sortable layers">.*?<tbody>(.*?)</tbody>', text)
    assert layers
    assert text.count('<circle class="layer"') == layers[1].count("<tr>") > 50
    assert "ms lost" in text
    assert "Beside other engines" in text
    assert "shufflenet_v2_x1_0" in text
    assert "<h2>a picture</h2>" in text
    assert "<title>dot</title>" in text


@pytest.mark.skipif(BROWSER is None, reason="no chromium here")
def test_a_click_sorts_in_a_browser(page: Path, tmp_path: Path) -> None:
    """Click on a head twice, and read back the column from the page that the browser has then."""
    script = """<script>
const head = [...document.querySelectorAll("table.layers th")].find(h => h.textContent === "lost ms");
const column = () => [...document.querySelectorAll("table.layers tbody tr")].map(
  row => Number(row.cells[head.cellIndex].dataset.value));
head.click(); const down = column(); head.click(); const up = column();
document.body.insertAdjacentHTML("beforeend", "<pre id=found>" + JSON.stringify({down, up}) + "</pre>");
</script></body>"""
    clicked = tmp_path / "clicked.html"
    clicked.write_text(page.read_text().replace("</body>", script))
    assert BROWSER is not None
    done = subprocess.run(
        [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
         f"--user-data-dir={tmp_path}/profile", "--dump-dom", clicked.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    found = re.search(r'<pre id="found">(.*?)</pre>', done.stdout)
    assert found, done.stdout[-500:]
    sorted_ = json.loads(found[1])
    assert len(sorted_["down"]) > 50
    assert sorted_["down"] == sorted(sorted_["down"], reverse=True)
    assert sorted_["up"] == sorted(sorted_["up"])


def test_a_comparison_without_peers(tmp_path: Path) -> None:
    """A record of fastconv alone has no best peer, and no ratio."""
    case = {
        "name": "alone",
        "threads": 1,
        "engines": {"fastconv": {"min_ms": 12.5}},
        "contests": {"network": {"ours": "fastconv", "best_peer": None, "ratio": None}},
    }
    record, out = tmp_path / "record.json", tmp_path / "r.html"
    record.write_text(json.dumps({"kind": "model", "cases": [case]}))
    command = ["report", "mobilenet_v2", "--input-shape", "1,3,32,32", "--seconds", "0.02"]
    assert main([*command, "-o", str(out), "--bench", str(record)]) == 0
    assert "<td>alone</td><td>1</td><td>12.50</td><td></td><td></td><td></td>" in out.read_text()


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
