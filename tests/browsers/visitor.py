"""Someone who sits in front of a browser, at one of the sites of tests/apps/browser_sites.py."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

# Seconds. Whatever works takes a fraction of it.
TIMEOUT = 20
_OFTEN = 0.02

_FETCH = """
const [path, form, done] = arguments;
const options = form === null ? {} : {method: "POST", body: new URLSearchParams(form)};
fetch(path, options).then(answer => answer.text()).then(done, failure => done(String(failure)));
"""


@dataclass(frozen=True)
class Visitor:
    """Acts in the tab that is in front.

    :param address: of the site, with a slash at its end.
    """

    driver: Chrome
    address: str

    def open(self, page: str = "") -> None:
        """Enter an address."""
        self.driver.get(self.address + page)

    def text(self, id: str) -> str:
        """Return what an element of the page shows."""
        text: str = self.driver.find_element(By.ID, id).text
        return text

    def body(self) -> str:
        """Return what the page shows."""
        text: str = self.driver.find_element(By.TAG_NAME, "body").text
        return text

    def seen(self) -> tuple[str, int]:
        """Return who is welcomed, and how often they have been there, by the page in front."""
        return self.text("user"), int(self.text("visits"))

    def log_in(self, user: str) -> None:
        """Go to the form, and fill it in; ends at the page that welcomes."""
        self.open("login")
        self.driver.find_element(By.ID, "user").send_keys(user)
        self.driver.find_element(By.ID, "password").send_keys("a password of theirs")
        self._leave_by("login")

    def log_out(self) -> None:
        """Press the button of the page that welcomes; ends there again."""
        self._leave_by("logout")

    def fetch(self, path: str, **form: str) -> str:
        """Have the page ask for something; with a form, send it. Returns the body of the answer."""
        text: str = self.driver.execute_async_script(_FETCH, path, form or None)
        return text

    def wait(self, happened: Any, what: str) -> Any:
        """Return what it returns as soon as that is true."""
        return WebDriverWait(self.driver, TIMEOUT, _OFTEN).until(lambda _: happened(), f"waited in vain for {what}")

    def cookies(self) -> list[dict[str, Any]]:
        """Return all cookies that the browser has, of all sites, as its own store tells of them."""
        cookies: list[dict[str, Any]] = self.driver.execute_cdp_cmd("Storage.getCookies", {})["cookies"]
        return cookies

    def cookie(self) -> dict[str, Any]:
        """Return the only cookie that the browser has."""
        (cookie,) = self.cookies()
        return cookie

    def network(self) -> list[Answer]:
        """Return what came in from the network since this was last called, in all tabs."""
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        return [
            Answer(
                event["params"]["statusCode"],
                [
                    line
                    for name, value in event["params"]["headers"].items()
                    if name.lower() == "set-cookie"
                    for line in value.split("\n")
                ],
                [cookie["blockedReasons"] for cookie in event["params"]["blockedCookies"]],
            )
            for event in events
            if event["method"] == "Network.responseReceivedExtraInfo"
        ]

    def _leave_by(self, button: str) -> None:
        self.driver.execute_script("window.isOld = true")
        self.driver.find_element(By.ID, button).click()
        is_new = "return !window.isOld && document.readyState == 'complete'"
        self.wait(lambda: self.driver.execute_script(is_new), "the next page")


@dataclass(frozen=True)
class Answer:
    """The head of a response, as the browser's network stack saw it.

    :param set_cookies: its Set-Cookie headers.
    :param refusals: for each cookie that the browser refused, why.
    """

    status: int
    set_cookies: list[str]
    refusals: list[list[str]]
