"""The printer of tables: lines for a terminal, elements for a browser."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fastconv._text import markdown

GAP = "  "  # between columns


class Table:
    """A table of some columns.

    Parameters
    ----------
    *columns : pair of str
        The head of each, and where its cells stand: ``"<"`` words, ``">"`` numbers, with the least width.

    Examples
    --------
    >>> table = Table(("layer", "<"), ("ms", ">6"))
    >>> for line in table.lines([("conv1", "0.25"), ("fc", "10")]):
    ...     print(line)
    layer      ms
    conv1    0.25
    fc         10
    """

    def __init__(self, *columns: tuple[str, str]) -> None:
        self._heads = [head for head, _ in columns]
        self._sides = [side[0] for _, side in columns]
        self._least = [max(int(side[1:] or 0), len(head)) for head, side in columns]

    def head(self) -> str:
        """Return the line of the heads, in the least widths."""
        return self.line(self._heads)

    def line(self, cells: Iterable[Any]) -> str:
        """Return a line in the least widths, for who prints each as soon as it is known."""
        return self._line(map(str, cells), self._least)

    def lines(self, rows: Iterable[Iterable[Any]]) -> list[str]:
        """Return the heads and all rows, each column as wide as its widest cell."""
        texts = [self._heads, *(list(map(str, row)) for row in rows)]
        widths = [max(least, *map(len, column)) for least, *column in zip(self._least, *texts, strict=True)]
        return [self._line(row, widths) for row in texts]

    def _line(self, cells: Iterable[str], widths: Sequence[int]) -> str:
        placed = (f"{c:{s}{w}}" for c, s, w in zip(cells, self._sides, widths, strict=True))
        return GAP.join(placed).rstrip()

    def html(
        self, rows: Iterable[Iterable[Any]], numbers: Iterable[Sequence[Any]] = (), kind: str = "sortable"
    ) -> str:
        """Return an HTML table.

        Parameters
        ----------
        rows : iterable of iterable
            The cells.
        numbers : iterable of sequence, optional
            For each row what its cells stand for, or None, for whoever sorts them: their ``data-value``.
        kind : str
            The table's classes.

        Examples
        --------
        >>> Table(("ms", ">")).html([("0.3",)], [(0.25,)]).partition("<tbody>")[2]
        '<tr><td data-value="0.25">0.3</td></tr></tbody></table>'
        """
        from html import escape  # in here: it takes long to import, and few write for a browser

        classes = ["" if side == ">" else ' class="text"' for side in self._sides]
        heads = "".join(f"<th{c}>{escape(h)}</th>" for c, h in zip(classes, self._heads, strict=True))
        values = iter(numbers)
        body = []
        for row in rows:
            of_row = next(values, [None] * len(classes))
            body.append("<tr>")
            for cell, c, value in zip(row, classes, of_row, strict=True):
                number = "" if value is None else f' data-value="{value}"'
                body.append(f"<td{c}{number}>{escape(str(cell))}</td>")
            body.append("</tr>")
        return f'<table class="{kind}"><thead><tr>{heads}</tr></thead><tbody>{"".join(body)}</tbody></table>'


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows of plain values as CSV, under the names that any of them has.

    >>> print(as_csv([{"layer": "conv1", "shape": (1, 3)}, {"layer": "fc", "ms": 0.5}]), end="")
    layer,shape,ms
    conv1,1x3,
    fc,,0.5
    """
    import csv  # in here, as few tables become files

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = _names(rows)
    writer.writerow(names)
    writer.writerows([_plain(row.get(name)) for name in names] for row in rows)
    return text.getvalue()


def as_markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    r"""Return rows of plain values as a table of Markdown, numbers to four digits.

    >>> print(as_markdown([{"layer": "a|b", "ms": 0.123456}]))
    | layer | ms |
    | --- | ---: |
    | a\|b | 0.1235 |
    """
    names = _names(rows)
    numbers = [all(isinstance(row.get(name), int | float | None) for row in rows) for name in names]
    lines = [names]
    for row in rows:
        values = (row.get(name) for name in names)
        cells = (f"{v:.4g}" if isinstance(v, float) else str(_plain(v)) for v in values)
        lines.append([cell.replace("|", "\\|").replace("\n", " ") for cell in cells])
    return markdown(lines, numbers=numbers)


def _names(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


def _plain(value: Any) -> Any:
    """Return a value as a cell holds it: a shape as 1x3, nothing for None."""
    if isinstance(value, list | tuple):
        return "x".join(map(str, value))
    return "" if value is None else value
