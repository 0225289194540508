"""The roofline of your own model: each layer under what this machine can do, as a picture and as a page.

Needs ``pip install ".[plot]"``; for an ONNX file ``".[onnx]"`` too. Give a file, or none for SqueezeNet with
random weights. It writes layers.svg and report.html into this folder.

    python examples/roofline.py model.onnx
"""

from __future__ import annotations

import sys
from pathlib import Path

import fastconv
from fastconv.models import squeezenet1_1
from fastconv.profiler import plot_profile, report

SHAPE = (1, 3, 224, 224)  # of the input; change it to your model's

model = fastconv.load(sys.argv[1]) if sys.argv[1:] else squeezenet1_1(squeezenet1_1.random_weights())
found = fastconv.profile(model, SHAPE, seconds=1.0)  # the roofs are measured first, once for a machine

print(found.roofs)
totals = found.totals
print(f"{totals['run_ms']:.2f} ms, of which the roofs ask {totals['ideal_ms']:.2f}")

plot_profile(found).savefig("layers.svg")
Path("report.html").write_text(report(found), encoding="utf-8")
print("layers.svg, report.html")
