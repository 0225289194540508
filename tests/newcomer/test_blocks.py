"""The blocks of Python in pages for newcomers run, in their order, in a folder of their own."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import fastconv
from fastconv.cli import build_parser
from fastconv.exporters.onnx import to_file

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "docs/guide.md", "docs/coming_from.md", "docs/process.md")


def blocks(page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(), re.M | re.S)


@pytest.mark.model
@pytest.mark.parametrize("page", PAGES)
def test_blocks_run(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnx")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FASTCONV_ROOFLINE", str(tmp_path / "roofline.json"))
    net = fastconv.models.squeezenet1_1
    model = net(net.random_weights())
    to_file(net.graph(net.random_weights()), "model.onnx")
    model.save("net.fcm")
    # What the guide's reader has: weights in a file, and a module of torch.
    monkeypatch.setattr(fastconv.models, "resnet50", lambda _: model)
    monkeypatch.setattr(fastconv, "from_torch", lambda *_: model)
    names: dict[str, object] = {"module": None}
    threads = fastconv.get_num_threads()
    found = blocks(page)
    assert found
    try:
        for text in found:
            exec(compile(text, page, "exec"), names)
    finally:
        fastconv.set_num_threads(threads)


@pytest.mark.parametrize("page", PAGES[:3])
def test_commands_are_ones_that_there_are(page: str) -> None:
    text = "\n".join(re.findall(r"^```sh\n(.*?)^```", (ROOT / page).read_text(), re.M | re.S))
    lines = re.findall(r"^fastconv (.*?)(?: #| >|$)", text, re.M)
    assert lines
    for line in lines:
        assert build_parser().parse_args(line.split()) is not None
