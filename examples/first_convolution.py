"""A first convolution: find the edges of a picture, and see that the result is what the definition says.

Needs nothing but fastconv.

    python examples/first_convolution.py
"""

from __future__ import annotations

import numpy as np

import fastconv

# A picture of one channel: a bright square on a dark ground. Images are (batch, channels, height, width).
image = np.zeros((1, 1, 64, 64), np.float32)
image[:, :, 16:48, 16:48] = 1

# Sobel's two kernels: one finds upright edges, the other level ones. Weights are (out, in, height, width).
upright = np.float32([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
kernels = np.stack([upright, upright.T])[:, np.newaxis]

edges = fastconv.conv2d(image, kernels, padding=1)
print(f"{image.shape} by {kernels.shape} gives {edges.shape}")

# The definition: each output is the sum of products of the kernel and the pixels under it.
padded = np.pad(image, ((0, 0), (0, 0), (1, 1), (1, 1)))
windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
np.testing.assert_allclose(edges, np.einsum("nchwij,ocij->nohw", windows, kernels), atol=1e-5)

strength = np.hypot(edges[0, 0], edges[0, 1])
for row in strength[::4, ::2]:
    print("".join(" .:*#"[min(int(value), 4)] for value in row))

# What is called many times is planned once: weights are packed, and memory is kept.
conv = fastconv.Conv2d(kernels, padding=1, activation="relu")
conv(image, out=edges)
print(conv.explain(image.shape))
