"""Chromium without a window, driven over WebDriver; it reaches this machine only."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import services
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

from . import processes

_OPTIONS = (
    "--headless=new",
    "--disable-background-networking",
    "--disable-breakpad",
    "--disable-component-extensions-with-background-pages",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    # It would show a page that was left as it was, without asking its HTTP cache or the server.
    "--disable-features=BackForwardCache",
    "--disable-gpu",
    "--disable-sync",
    "--homepage=about:blank",
    "--no-default-browser-check",
    "--no-first-run",
    "--no-proxy-server",
    "--password-store=basic",
    # Whatever else it would like to ask has no address.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1",
)


@dataclass(frozen=True)
class Chromium:
    """The installed programs.

    :param browser: the path of Chromium.
    :param driver: the path of its WebDriver server.
    """

    browser: str
    driver: str

    @contextmanager
    def running(self, directory: Path, fingerprint: str) -> Iterator[Chrome]:
        """Run a browser, and see that all its processes have ended afterwards.

        :param directory: gets the profile, which a second run in the same directory finds again, and the log.
        :param fingerprint: of the public key of the only certificate that it takes although nobody vouches for it.
        """
        # With its path, Selenium looks for none, and downloads none. What Chromium keeps beside its profile stays in
        # the directory as well; and by that variable, each of its processes is known.
        service = Service(
            self.driver,
            env={**os.environ, "HOME": str(directory)},
            log_output=str(directory / "chromedriver.log"),
        )
        driver = Chrome(options=self._options(directory, fingerprint), service=service)
        try:
            yield driver
        finally:
            family = processes.family(service.process.pid, f"HOME={directory}")
            driver.quit()
            lingering = processes.end(family)
        assert not lingering, f"processes of Chromium that did not end: {lingering}"

    def _options(self, directory: Path, fingerprint: str) -> ChromeOptions:
        options = ChromeOptions()
        options.binary_location = self.browser
        for option in _OPTIONS:
            options.add_argument(option)
        if os.geteuid() == 0:
            options.add_argument("--no-sandbox")
        options.add_argument(f"--user-data-dir={directory / 'profile'}")
        options.add_argument(f"--ignore-certificate-errors-spki-list={fingerprint}")
        # No connections in advance: over TLS, each idle one holds a thread of gunicorn for a minute.
        options.add_experimental_option("prefs", {"net.network_prediction_options": 2})
        # What its network stack has seen, headers included.
        options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
        return options


def installed() -> Chromium:
    """Return the programs; without them, the test is skipped, or fails with REQUIRE_SERVICES=1."""
    return Chromium(
        services.require("chromium", "chromium"),
        services.require("chromedriver", "chromium-driver"),
    )
