"""The shell of every page: one HTML file that needs nothing outside of it, light or dark as the system is.

A click on the head of a table of class ``sortable`` sorts it. Pictures take their colours from the variables.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
:root {{ --ink: #222; --paper: #fff; --soft: #444; --rule: #eee; --head: #f6f6f6; --strong: #000; }}
@media (prefers-color-scheme: dark) {{
  :root {{ --ink: #ddd; --paper: #181818; --soft: #bbb; --rule: #383838; --head: #262626; --strong: #fff; }}
}}
body {{ font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); }}
body {{ margin: 2em auto; max-width: 1500px; padding: 0 1em; }}
h1, h2 {{ font-weight: 600; }}
table {{ border-collapse: collapse; font-size: 12px; display: block; overflow-x: auto; margin-bottom: 1em; }}
th, td {{ padding: 2px 8px; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--rule); }}
th.text, td.text {{ text-align: left; }}
table.sortable th {{ cursor: pointer; background: var(--head); }}
th[aria-sort]::after {{ content: " \\2193"; }}
th[aria-sort=ascending]::after {{ content: " \\2191"; }}
svg {{ width: 100%; max-width: 1100px; height: auto; }}
pre {{ font-size: 12px; overflow-x: auto; }}
svg text {{ font-size: 12px; fill: var(--soft); }}
</style>
</head>
<body>
{body}
<script>
for (const head of document.querySelectorAll("table.sortable th")) head.addEventListener("click", () => {{
  const body = head.closest("table").tBodies[0], column = head.cellIndex;
  const up = head.getAttribute("aria-sort") === "descending";
  for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  const key = row => {{
    const value = row.cells[column].dataset.value ?? row.cells[column].textContent;
    return value !== "" && !isNaN(value) ? Number(value) : value;
  }};
  const order = (a, b) => a < b ? -1 : a > b ? 1 : 0;
  const rows = [...body.rows].sort((a, b) => (up ? 1 : -1) * order(key(a), key(b)));
  body.append(...rows);
}});
</script>
</body>
</html>
"""


def document(title: str, sections: Iterable[str]) -> str:
    """Return a page of some elements.

    >>> document("a < b", ["<p>text</p>"]).startswith("<!DOCTYPE html>")
    True
    """
    return _PAGE.format(title=html.escape(title), body="\n".join(sections))


def facts_table(facts: Mapping[str, str]) -> str:
    """Return a table with a line for each fact.

    >>> facts_table({"ms": "<1"})
    '<table><tr><th class="text">ms</th><td class="text">&lt;1</td></tr></table>'
    """
    rows = "".join(
        f'<tr><th class="text">{html.escape(key)}</th><td class="text">{html.escape(text)}</td></tr>'
        for key, text in facts.items()
    )
    return f"<table>{rows}</table>"
