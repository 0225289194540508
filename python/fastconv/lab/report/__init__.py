"""Pages for a browser: a profile, and what quantising did to a network."""

from __future__ import annotations

from fastconv.lab.report.losses import loss_page
from fastconv.lab.report.page import report

__all__ = ["loss_page", "report"]
