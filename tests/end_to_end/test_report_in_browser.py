"""The report in a real Chromium: nothing sticks out on a phone, and light and dark are what they say."""

from __future__ import annotations

import re
import shutil
import subprocess
from html import escape
from pathlib import Path

import pytest
from PIL import Image

from pytest_groundthink.report.make import as_html
from tests.pytest_groundthink.report_cards import BOOK, LADDER, MIXED

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")
SCHEMES = {"light": 1, "dark": 0}
# The page that looks at the report may run scripts; the report's own policy forbids them to itself.
MEASURE = """<!doctype html><body>
<iframe width="{width}" height="800" style="border:0" srcdoc="{page}"></iframe>
<script>
addEventListener("load", () => {{
  const seen = document.querySelector("iframe").contentDocument;
  const out = [...seen.body.querySelectorAll("*")].filter(one => !one.closest(".scroll") && !one.closest("svg")
    && one.getBoundingClientRect().right > {width} + 1).map(one => one.tagName);
  document.body.innerHTML = `<pre>${{seen.documentElement.scrollWidth}} ${{out.join(",")}}</pre>`;
}});
</script>"""


def chromium(tmp_path: Path, page: Path, *options: str) -> str:
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", *options, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


@pytest.fixture(scope="module", params=["one", "several"])
def html(request: pytest.FixtureRequest) -> str:
    return as_html([MIXED] if request.param == "one" else [MIXED, *LADDER], BOOK)


def measured(tmp_path: Path, html: str, width: int) -> tuple[int, str]:
    """How wide the page is in a window of that width, and the elements that stick out of it."""
    page = tmp_path / "measure.html"
    page.write_text(MEASURE.format(width=width, page=escape(html)), encoding="utf-8")
    seen = re.search(r"<pre>(\d+) (.*?)</pre>", chromium(tmp_path, page, "--window-size=1400,900", "--dump-dom"))
    assert seen is not None
    return int(seen[1]), seen[2]


@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_sticks_out(tmp_path: Path, html: str, width: int) -> None:
    assert measured(tmp_path, html, width) == (width, "")


def test_what_sticks_out_is_seen(tmp_path: Path) -> None:
    wide = '<!doctype html><body style="margin:0"><p style="width:500px">wide</p></body>'
    assert measured(tmp_path, wide, 360) == (500, "P")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_light_is_light_and_dark_is_dark(tmp_path: Path, html: str, scheme: str) -> None:
    page, shot = tmp_path / "report.html", tmp_path / "shot.png"
    page.write_text(html, encoding="utf-8")
    preferred = f"--blink-settings=preferredColorScheme={SCHEMES[scheme]}"
    chromium(tmp_path, page, "--window-size=1280,900", preferred, f"--screenshot={shot}")
    picture = Image.open(shot).convert("L")
    assert picture.size == (1280, 900)
    dark, bright = picture.getextrema()
    ground = picture.getpixel((2, 2))
    assert ground == (bright if scheme == "light" else dark) or abs(ground - {"light": 255, "dark": 18}[scheme]) <= 3
    assert bright - dark > 180, "there is text on it"
