"""What a browser makes of the report and of the pictures: nothing covered, nothing cut off, in both modes."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fastconv.lab.draw.labels import SAME, Line, apart, merged
from fastconv.lab.machine import Bandwidth, Peak, Roofline
from fastconv.lab.profile.counters import CountedTraffic
from fastconv.lab.profile.layers import LayerProfile, Profile
from fastconv.lab.report import report
from profiler.browser import look, needs_browser

ROOT = Path(__file__).parents[2]
WIDTHS = (390, 768, 1280)
# The pictures of the documents that lab/draw makes.
DRAWN = ("bench", "layers", "losses", "roofline", "sweep")
KEPT = sorted(path for path in (ROOT / "docs").glob("*.svg") if path.stem.split("-")[0] in DRAWN)

# For every text of a picture: its box, in a frame of reference where the text is level, as turned ones have
# large boxes. Two texts of one angle cover each other where these boxes meet.
PLACES = """
const lum = c => {
  const [r, g, b] = c.match(/[\\d.]+/g).map(Number);
  return .2126 * r + .7152 * g + .0722 * b;
};
const problems = [];
const boxes = text => {
  const b = text.getBBox(), m = text.getCTM(), angle = Math.atan2(m.b, m.a);
  const at = document.createElementNS("http://www.w3.org/2000/svg", "svg").createSVGPoint();
  at.x = b.x; at.y = b.y;
  const p = at.matrixTransform(m), c = Math.cos(-angle), s = Math.sin(-angle);
  const scale = Math.hypot(m.a, m.b);
  return {text: text.textContent.trim(), angle, x: p.x * c - p.y * s, y: p.x * s + p.y * c,
          w: b.width * scale, h: b.height * scale};
};
for (const svg of document.querySelectorAll("svg")) {
  const outer = svg.getBoundingClientRect();
  const texts = [...svg.querySelectorAll("text")].filter(t => t.textContent.trim());
  if (!texts.length) problems.push("a picture without text");
  if (!svg.querySelector("title")) problems.push("a picture without a title");
  for (const text of texts) {
    const b = text.getBoundingClientRect();
    if (b.left < outer.left - 1 || b.right > outer.right + 1 || b.top < outer.top - 1
        || b.bottom > outer.bottom + 1)
      problems.push("cut off: " + text.textContent);
    if (b.height < 6) problems.push("too small: " + text.textContent);
  }
  const all = texts.map(boxes);
  for (let i = 0; i < all.length; ++i) for (let j = 0; j < i; ++j) {
    const a = all[i], b = all[j], room = 0.25 * Math.min(a.h, b.h);
    if (Math.abs(a.angle - b.angle) < 0.01 && a.x < b.x + b.w - room && b.x < a.x + a.w - room
        && a.y < b.y + b.h - room && b.y < a.y + a.h - room) problems.push(a.text + " covers " + b.text);
  }
}
const body = window.getComputedStyle(document.body);
const heads = [...document.querySelectorAll("table.layers th")];
const place = name => heads.find(h => h.textContent === name)?.getBoundingClientRect().right ?? null;
return {
  problems,
  overflow: document.documentElement.scrollWidth - window.innerWidth,
  ink: lum(body.color), paper: lum(body.backgroundColor),
  heads: heads.map(h => h.textContent), lost: place("lost ms"), share: place("share"),
};
"""


def layer(name: str, flops: int, size: int, ms: float, **options: Any) -> LayerProfile:
    shape, kind = (1, 64, 56, 56), {"algorithm": "implicit", "arithmetic": "f32", **options}
    return LayerProfile(
        name, "conv + residual + relu", tile="6x16", elements="f32", input=shape, output=shape, params=36_992,
        param_bytes=147_968, macs=flops // 2, flops=flops, executed_flops=flops, bytes=size,
        predicted_bytes=size, pairs=0, saturating_pairs=0, ms=ms, median_ms=ms, roof="compute",
        ideal_ms=min(ms, flops / 100e6), **kind,
    )  # fmt: skip


def roofline(threads: int = 1, factor: float = 1.0) -> Roofline:
    """A machine whose L3 and memory are level: their lines are one."""
    speeds = {"L1": 200 * factor, "L2": 98 * factor, "L3": 20.5 * factor, "DRAM": 20}
    bandwidths = tuple(
        Bandwidth(level, op, "avx2", threads, 1 << 20, gbs, 0.5 * gbs, 9)
        for level, gbs in speeds.items()
        for op in ("read",)
    )
    peak = Peak("avx2", threads, 102.0 * factor, 50 * factor, 9)
    int8 = Peak("avx2", threads, 115.0 * factor, 110 * factor, 9, "int8", "vpmaddubsw")
    return Roofline("A processor", peak, bandwidths, {}, (int8,))


def profile(layers: int = 40, **options: Any) -> Profile:
    """A network whose layers' names are long, and whose rates are near each other."""
    steps = tuple(
        layer(
            f"features.stage{i // 4}.block{i % 4}.branch{i % 3}.convolution_{i} Relu_{i}",
            231_211_008 + 1000 * i, 2_000_000 + 400_000 * (i % 7), 2.5 + 0.05 * (i % 9),
            algorithm="winograd_f4" if i % 5 == 0 else "implicit", **options,
        )
        for i in range(layers)
    )  # fmt: skip
    idle = replace(steps[0], name="Flatten_9", op="copy", algorithm="", macs=0, flops=0, executed_flops=0)
    traffic = CountedTraffic("cache-misses", None, "not permitted")
    return Profile("a_network", 1_000_000, (*steps, idle), roofline(), 80.0, 0.99, 0.01, 20, traffic)


@pytest.fixture(scope="module")
def pictures() -> dict[str, str]:
    pytest.importorskip("matplotlib")
    from fastconv.lab.draw import plot_losses, plot_profile, plot_rooflines, svg

    return {
        "two roofs": svg(plot_rooflines([roofline(), roofline(2, 1.95)])),
        "layers": svg(plot_profile(profile())),
        "losses": svg(plot_losses(profile())),
    }


@needs_browser
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_nothing_is_covered_or_cut_off(dark: bool, pictures: dict[str, str], tmp_path: Path) -> None:
    drawn = {**pictures, **{path.stem: path.read_text() for path in KEPT}}
    page = report(profile(arithmetic="int8"), pictures=drawn)
    found = look(page, PLACES, tmp_path, widths=WIDTHS, dark=dark)
    assert list(found) == list(WIDTHS)
    for width, told in found.items():
        assert told["problems"] == [], width
        assert told["overflow"] <= 0, width
        assert (
            (told["paper"] < 60 and told["ink"] > 200) if dark else (told["paper"] > 200 and told["ink"] < 60)
        )
        assert told["heads"][:3] == ["#", "layer", "lost ms"]
    assert found[1280]["lost"] < found[1280]["share"] < 1280  # what is lost is seen without scrolling


@needs_browser
def test_heads_are_buttons_that_sort(tmp_path: Path) -> None:
    script = """
    const rows = name => {
      const at = heads.find(h => h.textContent === name).cellIndex;
      const lines = [...document.querySelectorAll("table.layers tbody tr")];
      return lines.map(line => Number(line.cells[at].dataset.value));
    };
    const heads = [...document.querySelectorAll("table.layers th")];
    const head = heads.find(h => h.textContent === "lost ms"), button = head.querySelector("button");
    button.focus();
    const focused = document.activeElement === button;
    button.click(); const down = rows("lost ms"), said = head.getAttribute("aria-sort");
    button.click(); const up = rows("lost ms");
    heads[3].querySelector("button").click();
    const buttons = heads.every(h => h.querySelector("button")), then = head.getAttribute("aria-sort");
    return {focused, down, up, said, then, buttons};
    """
    (found,) = look(report(profile()), script, tmp_path).values()
    assert found["focused"]
    assert found["buttons"]
    assert found["down"] == sorted(found["down"], reverse=True)
    assert found["up"] == found["down"][::-1] == sorted(found["up"])
    assert (found["said"], found["then"]) == ("descending", None)


def test_doubts_are_one_line_about_what_is_drawn() -> None:
    page = report(profile())  # of f32: the peak of integers is not drawn, and not doubted
    assert page.count("<summary>5 roofs are doubtful") == 1
    assert page.count("<li>") == 5
    assert "int8" not in page.partition("<ul>")[2].partition("</ul>")[0]
    calm = replace(roofline(), bandwidths=tuple(replace(b, median=b.gbs) for b in roofline().bandwidths))
    calm = replace(calm, peak=replace(calm.peak, median=calm.peak.gflops))
    assert "<details>" not in report(replace(profile(), roofline=calm))


def test_the_worst_layers_are_named_and_lines_that_coincide_are_one(pictures: dict[str, str]) -> None:
    worst = [one.first_node[-20:] for one in profile().sorted_by("lost_ms")[:5]]
    page = report(profile())
    for text in (page[: page.index("<h2>Layers")], pictures["layers"]):
        assert all(f"{name}: " in text for name in worst)
        assert "L3 20 GB/s / DRAM 20 GB/s" in text
    told = re.findall("<text[^>]*>([^<]*)<", pictures["two roofs"])
    assert sum("GB/s" in words for words in told) == 5  # of eight lines
    assert "L3 20 GB/s, 1 thread / DRAM 20 GB/s, 1 thread / DRAM 20 GB/s, 2 threads" in told


def test_pictures_have_text_and_titles(pictures: dict[str, str]) -> None:
    for name, text in pictures.items():
        assert "<title>" in text, name
        assert "</text>" in text, name
    assert "<title>A processor</title>" in pictures["two roofs"]


def test_every_picture_of_the_documents_has_text_and_a_title() -> None:
    assert len(KEPT) >= 10
    for path in KEPT:
        text = path.read_text()
        assert "<title>" in text, path
        assert "</text>" in text, path
        assert "prefers-color-scheme: dark" in text, path


def test_lines_are_merged_within_the_scatter_alone() -> None:
    rates = [100, 100 * (1 - SAME) + 0.1, 100 * (1 - SAME) - 0.1, 10]
    assert [line.label for line in merged([Line(r, str(i), "red") for i, r in enumerate(rates)])] == [
        "0 / 1", "2", "3",
    ]  # fmt: skip


def test_words_are_kept_apart() -> None:
    places = apart([3.0, 3.1, 3.2, 9.9, 10.0], 1.0, 0.0, 10.0)
    assert places == sorted(places)
    assert all(b - a >= 1.0 - 1e-9 for a, b in itertools.pairwise(places))
    assert places[0] >= 0.0
    assert places[-1] <= 10.0
