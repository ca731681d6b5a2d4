"""One browser and two servers for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from selenium.webdriver import Chrome
from servers import Server, running

from .certificates import Certificate, make_certificate
from .chromium import Chromium, installed
from .visitor import Visitor


@dataclass(frozen=True)
class Sites:
    """The servers, by scheme, and the browser."""

    servers: dict[str, Server]
    driver: Chrome

    def visitor(
        self,
        framework: str,
        scheme: str,
        kind: str = "default",
        host: str = "localhost",
        driver: Chrome | None = None,
    ) -> Visitor:
        """Return a visitor of one of the sites; nothing is opened yet.

        :param driver: of another browser.
        """
        port = self.servers[scheme].port
        return Visitor(driver or self.driver, f"{scheme}://{host}:{port}/{framework}/{kind}/")


@pytest.fixture(scope="package")
def chromium() -> Chromium:
    return installed()


@pytest.fixture(scope="package")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="package")
def servers(
    tmp_path_factory: pytest.TempPathFactory, chromium: Chromium, certificate: Certificate
) -> Iterator[dict[str, Server]]:
    """Two workers each, with threads; not started if there is no browser."""
    directory = tmp_path_factory.mktemp("servers")
    options = ("--threads=8",)
    tls = (f"--certfile={certificate.certificate_path}", f"--keyfile={certificate.key_path}")
    kind, application = "gunicorn-gthread", "browser_sites:application"
    (directory / "http").mkdir()
    (directory / "https").mkdir()
    with running(kind, application, directory / "http", *options) as http:
        with running(kind, application, directory / "https", *options, *tls) as https:
            yield {"http": http, "https": https}


@pytest.fixture(scope="package")
def driver(
    tmp_path_factory: pytest.TempPathFactory, chromium: Chromium, certificate: Certificate, servers: dict[str, Server]
) -> Iterator[Chrome]:
    """Ends before the servers, which would wait for its idle connections."""
    with chromium.running(tmp_path_factory.mktemp("chromium"), certificate.fingerprint) as driver:
        yield driver


@pytest.fixture
def sites(servers: dict[str, Server], driver: Chrome) -> Iterator[Sites]:
    """The servers, and the browser with one empty tab and without cookies."""
    driver.switch_to.new_window("tab")
    tab = driver.current_window_handle
    driver.execute_cdp_cmd("Storage.clearCookies", {})
    driver.get_log("performance")
    yield Sites(servers, driver)
    for other in set(driver.window_handles) - {tab}:
        driver.switch_to.window(other)
        driver.close()
    driver.switch_to.window(tab)
    driver.get("about:blank")
