"""The page in a real browser: every picture is shown, nothing is wider than the window, nothing comes from outside."""

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pytest

from pipelines.report.__main__ import STAGE
from pipelines.runtime.stage import run_stage
from tests.support.report_world import World

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
QUIET = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--dump-dom"),
]
PROBE = """<script>addEventListener("load", () => {
  const shown = [...document.images], root = document.documentElement;
  document.querySelectorAll("details").forEach(item => item.open = true);
  const wide = [...document.querySelectorAll("section")].filter(s => s.scrollWidth > s.clientWidth + 1).map(s => s.id);
  const outside = performance.getEntriesByType("resource").filter(entry => !entry.name.startsWith("data:")).length;
  root.dataset.probe = JSON.stringify({images: shown.length, broken: shown.filter(i => !i.naturalWidth).length,
    charts: document.querySelectorAll("svg").length, wide, page: root.scrollWidth > innerWidth, outside});
})</script>"""


@pytest.fixture
def browser() -> str:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"no browser found ({', '.join(BROWSERS)}): the page was not opened")
    return found


def probe(browser: str, page: Path, profile: Path, *, width: int = 1200) -> dict:
    copy = page.with_name("probed.html")
    copy.write_text(page.read_text().replace("</body>", PROBE + "</body>"))
    command = [browser, *QUIET, f"--window-size={width},900", f"--user-data-dir={profile}", copy.as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    return json.loads(unescape(re.search(r'data-probe="([^"]*)"', dom)[1]))


@pytest.mark.parametrize("width", [1200, 600])
def test_every_picture_is_shown_and_fits(tmp_path, browser, width):
    world = World(tmp_path / "world").everything()
    assert run_stage(STAGE, [], root=world.root) == 0
    seen = probe(browser, world.root / "report" / "index.html", tmp_path / "profile", width=width)
    assert seen == {"images": 6, "broken": 0, "charts": 4, "wide": [], "page": False, "outside": 0}
