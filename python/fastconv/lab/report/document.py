"""The shell of every page: one HTML file that needs nothing outside of it, light or dark as the system is.

The heads of a table of class ``sortable`` are buttons that sort it. Pictures take their colours from the
variables of ``page.css``.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping
from importlib.resources import files

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
{body}
<script>
{script}</script>
</body>
</html>
"""


def document(title: str, sections: Iterable[str]) -> str:
    """Return a page of some elements.

    >>> document("a < b", ["<p>text</p>"]).startswith("<!DOCTYPE html>")
    True
    """
    style, script = ((files(__package__) / name).read_text("utf-8") for name in ("page.css", "sort.js"))
    return _PAGE.format(title=html.escape(title), body="\n".join(sections), style=style, script=script)


def wide(element: str) -> str:
    """Return an element that scrolls by itself, with keys too, where the window is narrower than it.

    >>> wide("<table></table>")
    '<div class="wide" tabindex="0"><table></table></div>'
    """
    return f'<div class="wide" tabindex="0">{element}</div>'


def facts_table(facts: Mapping[str, str]) -> str:
    """Return a table with a line for each fact.

    >>> facts_table({"ms": "<1"})
    '<table class="facts"><tr><th class="text">ms</th><td class="text">&lt;1</td></tr></table>'
    """
    rows = "".join(
        f'<tr><th class="text">{html.escape(key)}</th><td class="text">{html.escape(text)}</td></tr>'
        for key, text in facts.items()
    )
    return f'<table class="facts">{rows}</table>'
