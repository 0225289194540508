"""Hooks of MkDocs for the documentation site: pages from beside ``docs/``, and links in the reference."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

PAGES = {
    "index.md": "README.md",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
    "security.md": "SECURITY.md",
}
ROOT = Path(__file__).parents[1]


def on_files(files: Any, config: Any) -> Any:
    """Add those pages, with links from where they are on the site (a hook of MkDocs)."""
    from mkdocs.structure.files import File

    for name, source in PAGES.items():
        text = (ROOT / source).read_text("utf-8").replace("](docs/", "](")
        for page, target in PAGES.items():
            text = text.replace(f"]({target})", f"]({page})")
        files.append(File.generated(config, name, content=text))
    return files


def on_page_content(html: str, page: Any, config: Any, files: Any) -> str:
    """Make links of the names that docstrings mark for Sphinx, such as :func:`conv2d`, if known."""
    known = set(re.findall(r'id="([\w.]+)"', html))

    def link(found: re.Match[str]) -> str:
        name = found[1].removeprefix("~")
        places = (name, f"fastconv.{name}", f"fastconv.Model.{name}")
        target = next((place for place in places if place in known), "")
        shown = f"<code>{name}</code>"
        return f'<a href="#{target}">{shown}</a>' if target else shown

    return re.sub(r":(?:func|class|meth|mod|attr):<code>([^<]*)</code>", link, html)
