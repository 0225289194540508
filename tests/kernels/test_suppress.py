"""The boxes that a suppression keeps, against ONNX's formula, box by box."""

from __future__ import annotations

import math
import signal
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastconv
from fastconv import _core
from fastconv.testing.guard import guarded

F = np.float32


def corners(box: Any, centred: bool) -> tuple[list[Any], list[Any]]:
    """Return the low and the high corner; NaN where either is."""
    if centred:
        x, y, w, h = box
        return [y - h / F(2), x - w / F(2)], [y + h / F(2), x + w / F(2)]
    pairs = [(box[0], box[2]), (box[1], box[3])]
    return [np.minimum(*p) for p in pairs], [np.maximum(*p) for p in pairs]


def overlap_of(a: Any, b: Any) -> Any:
    """Return what two boxes share over what they cover, in f32; 0 where one has no area."""
    (low_a, high_a), (low_b, high_b) = a, b
    sides = [
        np.maximum(np.minimum(high_a[d], high_b[d]) - np.maximum(low_a[d], low_b[d]), F(0)) for d in (0, 1)
    ]
    shared = sides[0] * sides[1]
    area_a, area_b = ((high[0] - low[0]) * (high[1] - low[1]) for low, high in (a, b))
    both = area_a + area_b - shared
    return shared / both if area_a > 0 and area_b > 0 and both > 0 else F(0)


def expected_of(
    boxes: Any, scores: Any, most: int, overlap: float, least: float | None, centred: bool
) -> Any:
    rows = []
    for image, index in np.ndindex(*scores.shape[:2]):
        values = scores[image, index]
        order = [i for i in range(len(values)) if least is None or values[i] > F(least)]
        order.sort(key=lambda i: (math.isnan(values[i]), 0 if math.isnan(values[i]) else -values[i]))
        kept: list[int] = []
        for i in order:
            box = corners(boxes[image, i], centred)
            near = [not overlap_of(corners(boxes[image, j], centred), box) <= F(overlap) for j in kept]
            if len(kept) < most and not any(near):
                kept.append(i)
        rows += [(image, index, i) for i in kept]
    return np.array(rows, np.int64).reshape(-1, 3)


COORDINATES = st.one_of(
    st.integers(-3, 6).map(float),  # edges that touch, areas of 0, overlaps that are exact
    st.floats(-2, 2, width=32),
    st.sampled_from([math.nan, math.inf, -math.inf, 1e30, -1e30, 1e-30, 0.0, -0.0]),
)
SCORES = st.one_of(st.integers(-2, 2).map(float), st.sampled_from([math.nan, math.inf, -math.inf, 0.0, -0.0]))


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_what_is_kept_is_what_the_formula_says(data: st.DataObject) -> None:
    images, classes, count = (data.draw(st.integers(0, n)) for n in (2, 3, 40))
    plain = data.draw(st.booleans())
    coordinates = st.integers(0, 5).map(float) if plain else COORDINATES

    def drawn(values: Any, *shape: int) -> Any:
        found = data.draw(st.lists(values, min_size=math.prod(shape), max_size=math.prod(shape)))
        return np.array(found, F).reshape(shape)

    boxes, scores = drawn(coordinates, images, count, 4), drawn(SCORES, images, classes, count)
    options = (
        data.draw(st.integers(0, 45)),
        data.draw(st.sampled_from([0.0, 0.5, 1.0, 0.3, 1 / 3, -0.5, 2.0, math.nan])),
        data.draw(st.sampled_from([None, 0.0, -1.0, 1.5, math.nan, -math.inf])),
        data.draw(st.booleans()),
    )
    with np.errstate(all="ignore"):
        expected = expected_of(boxes, scores, *options)
    np.testing.assert_array_equal(_core.suppress(boxes, scores, *options), expected)


@pytest.mark.parametrize("count", [15, 16, 17, 31, 32, 33, 100])
def test_boxes_beyond_a_vector(count: int, rng: np.random.Generator) -> None:
    """The one that is covered comes last, or is covered by the last."""
    boxes = np.stack([np.array([i, i, i + 1, i + 1], F) for i in range(count)])[None]
    boxes[0, -1] = boxes[0, rng.integers(0, count - 1)]
    scores = np.linspace(1, 0.5, count, dtype=F).reshape(1, 1, count)
    for options in ((count, 0.5, None, False), (count, 0.999, None, False), (count, 1.0, None, False)):
        found = _core.suppress(boxes, scores, *options)
        np.testing.assert_array_equal(found, expected_of(boxes, scores, *options))
        assert len(found) == count - (options[1] < 1)


@pytest.mark.parametrize("align_end", [True, False])
@pytest.mark.parametrize("count", [0, 1, 3, 16, 33])
def test_no_byte_beyond_the_arrays(count: int, align_end: bool, rng: np.random.Generator) -> None:
    boxes = rng.uniform(0, 1, (2, count, 4)).astype(F)
    scores = rng.standard_normal((2, 3, count), dtype=F)
    near = (guarded(a, align_end=align_end) for a in (boxes, scores))
    options = (count, 0.5, -0.5, True)
    np.testing.assert_array_equal(_core.suppress(*near, *options), expected_of(boxes, scores, *options))


def test_the_same_on_any_threads(rng: np.random.Generator) -> None:
    boxes = rng.uniform(0, 1, (2, 500, 4)).astype(F)
    scores = rng.standard_normal((2, 20, 500), dtype=F)
    with fastconv.threads(1):
        expected = _core.suppress(boxes, scores, 50, 0.5, 0.1, False)
    for threads in (2, 5):
        with fastconv.threads(threads):
            np.testing.assert_array_equal(_core.suppress(boxes, scores, 50, 0.5, 0.1, False), expected)


@pytest.mark.parametrize(
    ("boxes", "scores", "message"),
    [
        (np.ones((1, 3, 4), F), np.ones((1, 3), F), "scores: expected 3 dimensions"),
        (np.ones((1, 3, 5), F), np.ones((1, 1, 3), F), "boxes: expected shape"),
        (np.ones((1, 2, 4), F), np.ones((1, 1, 3), F), "boxes: expected shape"),
        (np.ones((2, 3, 4), F), np.ones((1, 1, 3), F), "boxes: expected shape"),
        (np.ones((1, 4, 3), F).transpose(0, 2, 1), np.ones((1, 1, 3), F), "boxes, scores: expected C-cont"),
    ],
)
def test_what_does_not_fit_is_refused(boxes: Any, scores: Any, message: str) -> None:
    with pytest.raises(fastconv.FastconvError, match=message):
        _core.suppress(boxes, scores, 3, 0.5, None, False)


class Stop(Exception):
    """Raised by a signal's handler."""


def test_it_can_be_interrupted() -> None:
    """Of this many boxes that all stay it takes minutes."""
    count = 400_000
    line = np.arange(count, dtype=F)
    boxes = np.stack([line, line, line + F(0.5), line + F(0.5)], axis=-1)[None]
    scores = np.ones((1, 1, count), F)

    def stop(*_: Any) -> None:
        raise Stop

    before = signal.signal(signal.SIGALRM, stop)
    start = time.monotonic()
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with pytest.raises(Stop):
            _core.suppress(boxes, scores, count, 0.5, None, False)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - start < 3
