"""Words that messages and tables share."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path


def counted(n: int, noun: str) -> str:
    """Write a number of things.

    >>> counted(1, "thread"), counted(2, "thread")
    ('1 thread', '2 threads')
    """
    return f"{n} {noun}" + "s" * (n != 1)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return what ends a message about a name that is not known: the nearest one, or nothing.

    >>> did_you_mean("resnet5", ["resnet50", "vgg16"]), did_you_mean("x", ["vgg16"])
    ("; did you mean 'resnet50'?", '')
    """
    import difflib  # in here: only a mistake needs it

    near = difflib.get_close_matches(name.lower(), list(known), 1)
    return f"; did you mean {near[0]!r}?" if near else ""


def markdown(rows: Sequence[Sequence[str]], left: int = 1, numbers: Sequence[bool] | None = None) -> str:
    """Write a table whose first row is its head; all but the first columns are numbers, or those told.

    >>> print(markdown([["name", "ms"], ["a", "1.5"]]))
    | name | ms |
    | --- | ---: |
    | a | 1.5 |
    """
    numbers = [i >= left for i in range(len(rows[0]))] if numbers is None else numbers
    rule = ["---:" if number else "---" for number in numbers]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (rows[0], rule, *rows[1:]))


def paragraph(text: str, indent: str = "") -> str:
    """Break a text into lines of at most 100 columns, as documents have them, between words.

    All lines but the first are indented, as those of a list's item are.
    """
    return textwrap.fill(text, 100, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def replace_between(page: str, name: str, text: str) -> str:
    """Return a page with a text between its lines ``<!-- name:begin -->`` and ``<!-- name:end -->``.

    >>> replace_between("<!-- t:begin -->old<!-- t:end -->", "t", "new").splitlines()
    ['<!-- t:begin -->', 'new', '<!-- t:end -->']
    """
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    before, opens, rest = page.partition(begin)
    _, closes, after = rest.partition(end)
    if not opens or not closes:
        raise ValueError(f"page: expected the lines {begin} and {end}")
    return f"{before}{begin}\n{text}\n{end}{after}"


def update_page(page: Path, name: str, text: str, *, check: bool) -> int:
    """Write a text between such lines of a page; or only return 1 where they do not hold it, else 0."""
    before = page.read_text()
    after = replace_between(before, name, text)
    if check:
        return int(after != before)
    page.write_text(after)
    return 0


def printable(text: str) -> str:
    r"""Return text whose control characters, but for ends of lines, are written out: a terminal obeys them.

    >>> printable("a" + chr(27) + "[31mb")
    'a\\x1b[31mb'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)
