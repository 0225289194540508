"""What quantising or optimising did to a network, as one HTML page: the picture, the front, the table."""

from __future__ import annotations

import html

from fastconv.compress import Optimized, Quantized
from fastconv.lab.draw.svg_losses import svg_costs, svg_front
from fastconv.lab.report.document import document, facts_table


def loss_page(result: Quantized | Optimized, name: str) -> str:
    """Write a page about a network of 8 bits.

    Parameters
    ----------
    result : Quantized or Optimized
        Of :func:`fastconv.quantize`, with ``sensitivity=True`` and ``timed=True`` for the picture, or of
        :func:`fastconv.optimize`.
    name : str
        What the network is called.

    Returns
    -------
    str
        An HTML document without references to anything outside of it.

    Examples
    --------
    >>> import fastconv
    >>> import numpy as np
    >>> from fastconv.models import squeezenet1_1
    >>> model = squeezenet1_1(squeezenet1_1.random_weights())
    >>> x = np.random.default_rng(0).standard_normal((2, 3, 64, 64), np.float32)
    >>> page = loss_page(fastconv.quantize(model, x, sensitivity=True, timed=True), "squeezenet")
    >>> page.startswith("<!DOCTYPE html>"), page.count("</circle>") >= 26, "https://" in page
    (True, True, False)
    """
    report = result.report
    said = [*report.words(), *(result.words() if isinstance(result, Optimized) else ())]
    sections = [f"<h1>{html.escape(name)} in 8 bits</h1>", *(f"<p>{html.escape(text)}</p>" for text in said)]
    costs = result.costs if isinstance(result, Optimized) else report.costs
    sections.append("<h2>What each layer gains and loses</h2>")
    if costs:
        sections.append(svg_costs(costs))
    else:
        sections.append("<p>No layer was measured in floats and in 8 bits.</p>")
    if isinstance(result, Optimized):
        picture = svg_front(result.points, result.front(), result.chosen, result.budget)
        sections += ["<h2>Time against loss</h2>", picture, result.html()]
    sections += ["<h2>Layers</h2>", report.html()]
    if report.kept:
        sections += ["<h2>Left in float</h2>", facts_table(report.kept)]
    return document(f"{name}: 8 bits", sections)
