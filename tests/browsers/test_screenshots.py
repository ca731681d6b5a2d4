"""The pictures in the docs; ``UPDATE_SCREENSHOTS=1 pytest tests/browsers/test_screenshots.py`` renews them."""

import os
import re
from pathlib import Path

import pytest
from servers import ROOT

DOCS = ROOT / "docs"
SCREENSHOTS = DOCS / "screenshots"
NAMES = ["login.png", "welcome.png"]
SIZE = {"width": 480, "height": 370}
MAX_BYTES = 30_000


@pytest.fixture
def photographed(sites):
    """Have the browser show pages in the size of the pictures."""
    visitor = sites.visitor("flask", "https")
    metrics = {**SIZE, "deviceScaleFactor": 1, "mobile": False}
    visitor.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    yield visitor
    visitor.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.servers
def test_the_pages_can_be_photographed(photographed, tmp_path):
    directory = SCREENSHOTS if os.environ.get("UPDATE_SCREENSHOTS") == "1" else tmp_path
    photographed.open("login")
    assert photographed.driver.save_screenshot(str(directory / "login.png"))
    photographed.log_in("Anna")
    photographed.open()
    assert photographed.driver.save_screenshot(str(directory / "welcome.png"))
    for name in NAMES:
        check_picture(directory / name)


def test_the_docs_have_the_pictures_and_no_others():
    assert sorted(path.name for path in SCREENSHOTS.iterdir()) == NAMES
    for name in NAMES:
        check_picture(SCREENSHOTS / name)


@pytest.mark.parametrize("name", NAMES)
def test_a_page_of_the_docs_shows_the_picture_and_tells_what_it_shows(name):
    directive = re.compile(rf"^\.\. image:: screenshots/{re.escape(name)}\n(?:   :\w+:.*\n)*?   :alt: \S", re.MULTILINE)
    assert [page.name for page in DOCS.glob("*.rst") if directive.search(page.read_text())]


def check_picture(path: Path) -> None:
    content = path.read_bytes()
    # The signature, the first chunk's length and its name, and then the size (ISO/IEC 15948).
    assert content[:16] == b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
    size = {"width": int.from_bytes(content[16:20]), "height": int.from_bytes(content[20:24])}
    assert (size, len(content) < MAX_BYTES) == (SIZE, True), path
