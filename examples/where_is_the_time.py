"""Where does my network lose its time? By layer, by kind of layer, and what to do about the worst.

Needs nothing but fastconv; for an ONNX file ``pip install ".[onnx]"``. Give a file, or none for MobileNet V2
with random weights.

    python examples/where_is_the_time.py model.onnx
"""

from __future__ import annotations

import sys
from collections import defaultdict

import fastconv
from fastconv.models import mobilenet_v2

SHAPE = (1, 3, 224, 224)  # of the input; change it to your model's

model = fastconv.load(sys.argv[1]) if sys.argv[1:] else mobilenet_v2(mobilenet_v2.random_weights())
found = fastconv.profile(model, SHAPE, seconds=1.0)

print("The layers that lose most against the machine's roofs:\n")
print(found.table(found.sorted_by("lost_ms")[:5]))

kinds: defaultdict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
for layer in found.layers:
    times = kinds[layer.algorithm or layer.op]
    times[0] += layer.ms
    times[1] += layer.lost_ms
print("\nBy kind:\n")
for kind, (ms, lost) in sorted(kinds.items(), key=lambda item: -item[1][1]):
    print(f"{kind:24} {ms:7.3f} ms, {lost:7.3f} lost")

# A layer bound by compute asks for fewer multiplications: fewer channels (fastconv prune) or 8 bits
# (fastconv quantize). One bound by a level of the memory asks for fewer bytes: 8 bits, or larger batches.
bound: defaultdict[str, float] = defaultdict(float)
for layer in found.layers:
    bound["compute" if layer.roof == "compute" else "memory"] += layer.ms
print("\nBound by", ", ".join(f"{roof}: {ms:.3f} ms" for roof, ms in bound.items()))
