"""A headless browser for tests of pages: what a script finds in a page at several widths."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no chromium here")

# The page goes into a frame of each width: a window of the browser is never as narrow as a telephone.
_FRAMES = """<!DOCTYPE html><meta charset="utf-8"><meta name="color-scheme" content="light dark"><body>
<script>
const page = %s, found = {};
async function look() {
  for (const width of %s) {
    const frame = document.createElement("iframe");
    Object.assign(frame.style, {width: width + "px", height: "900px", border: 0});
    document.body.append(frame);
    await new Promise(done => { frame.onload = done; frame.srcdoc = page; });
    found[width] = (function(document, window) { %s })(frame.contentDocument, frame.contentWindow);
    frame.remove();
  }
  document.body.innerHTML = "";
  const told = document.createElement("pre");
  told.id = "found";
  told.textContent = btoa(String.fromCharCode(...new TextEncoder().encode(JSON.stringify(found))));
  document.body.append(told);
}
look();
</script></body>"""


def look(
    page: str, script: str, folder: Path, *, widths: tuple[int, ...] = (1280,), dark: bool = False
) -> dict[int, Any]:
    """Return what a script returns of a page (``document``, ``window``), by the width that it is shown in."""
    assert BROWSER is not None
    file = folder / "frames.html"
    text = json.dumps(page).replace("</", "<\\/")
    file.write_text(_FRAMES % (text, list(widths), script), "utf-8")
    done = subprocess.run(
        [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
         f"--blink-settings=preferredColorScheme={0 if dark else 1}", "--virtual-time-budget=20000",
         f"--user-data-dir={folder}/browser", "--window-size=1400,1000", "--dump-dom", file.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    found = re.search(r'<pre id="found">(.*?)</pre>', done.stdout)
    assert found, (done.stdout[-300:], done.stderr[-1000:])
    return {int(width): value for width, value in json.loads(base64.b64decode(found[1])).items()}
