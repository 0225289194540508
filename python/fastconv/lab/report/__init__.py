"""A profile as one page for a browser."""

from __future__ import annotations

from fastconv.lab.report.page import report

__all__ = ["report"]
