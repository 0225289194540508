"""What pictures without matplotlib are made of: an SVG whose points tell of themselves to the pointer.

Colours are those of the page around it, :mod:`fastconv.lab.report.document`.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable

RULE, SOFT, STRONG = "var(--rule)", "var(--soft)", "var(--strong)"


class Chart:
    """Lines, words and points in a plane of pixels, with the margins that axes need.

    Parameters
    ----------
    label : str
        What the picture is called for those who do not see it.
    """

    width, height = 960, 520
    left, right, top, bottom = 76, 20, 20, 50

    def __init__(self, label: str) -> None:
        view = f'viewBox="0 0 {self.width} {self.height}"'
        self._parts = [f'<svg class="chart" {view} role="img"><title>{html.escape(label)}</title>']

    def x(self, share: float) -> float:
        """Return where a share of the way from the left margin to the right is."""
        return self.left + share * (self.width - self.left - self.right)

    def y(self, share: float) -> float:
        """Return where a share of the way from the lower margin to the upper is."""
        return self.height - self.bottom - share * (self.height - self.top - self.bottom)

    def line(
        self, x1: float, y1: float, x2: float, y2: float, colour: str = RULE, width: float = 1.0
    ) -> None:
        """Draw a line."""
        self._parts.append(
            f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
            f' style="stroke:{colour}" stroke-width="{width}"/>'
        )

    def text(
        self,
        x: float,
        y: float,
        content: str,
        anchor: str = "middle",
        colour: str = SOFT,
        *,
        turned: float = 0.0,
    ) -> None:
        """Write a line of text, turned by degrees around its place."""
        turn = f' transform="rotate({turned:.2f} {x:.1f} {y:.1f})"' if turned else ""
        self._parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" style="fill:{colour}"{turn}>'
            f"{html.escape(content)}</text>"
        )

    def grid(
        self,
        columns: Iterable[tuple[float, str]],
        rows: Iterable[tuple[float, str]],
        caption: str,
        vertical: str = "",
    ) -> None:
        """Draw what values are read from: lines at shares of the way, each with its label."""
        for share, label in columns:
            self.line(self.x(share), self.y(1), self.x(share), self.y(0))
            self.text(self.x(share), self.y(0) + 18, label)
        for share, label in rows:
            self.line(self.x(0), self.y(share), self.x(1), self.y(share))
            self.text(self.x(0) - 8, self.y(share) + 4, label, "end")
        self.text((self.left + self.width) / 2, self.height - 10, caption)
        self.text(18, (self.top + self.height - self.bottom) / 2, vertical, turned=-90)

    def point(self, x: float, y: float, radius: float, colour: str, told: str) -> None:
        """Draw a disc that tells of itself."""
        self._parts.append(
            f'<circle class="layer" cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}"'
            f' fill="{colour}" fill-opacity="0.7" stroke="#fff"><title>{html.escape(told)}</title></circle>'
        )

    def key(self, row: int, label: str, colour: str) -> None:
        """Say in the upper left corner what a colour stands for."""
        x, y = self.left + 15, self.top + 11 + 18 * row
        self._parts.append(f'<circle cx="{x}" cy="{y}" r="5" fill="{colour}"/>')
        self.text(x + 11, y + 4, label, "start")

    def svg(self) -> str:
        """Return the picture as an element of a page."""
        return "".join([*self._parts, "</svg>"])


def round_steps(low: float, high: float, most: int = 8) -> list[float]:
    """Return some round numbers, from one at or below ``low`` to one at or above ``high``.

    >>> round_steps(-0.3, 1.9)
    [-0.5, 0.0, 0.5, 1.0, 1.5, 2.0]
    """
    wide = max(high - low, 1e-9) / most
    power = 10.0 ** math.floor(math.log10(wide))
    step = next(power * n for n in (1, 2, 5, 10) if power * n >= wide)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [round(i * step, 12) for i in range(first, max(last, first + 1) + 1)]
