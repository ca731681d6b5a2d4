"""The visitor's story: every step says what it does, what came of it, and fails if that is not as it should be."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from .browser import Answer, Browser

Say = Callable[[str], object]

# Seconds that each of two concurrent requests sits between its reading and its writing.
_WAIT = 0.5


class NotAsItShouldBe(Exception):
    """A step did not do what was promised."""


def visit(port: int, say: Say, *, atomic: bool = True) -> None:
    """Go through the whole story with a server that has just been started.

    :param say: gets each line of what happens; no line holds a secret.
    :param atomic: of the store: without it, concurrent requests are left out, which may lose what another one wrote.
    :raises NotAsItShouldBe: at the first step that went wrong.
    """
    story = _Story(port, say)
    steps = [step for step in _STEPS if atomic or step is not _concurrent_requests]
    for number, step in enumerate(steps, 1):
        say(f"\n{number}. {step.__doc__}")
        step(story)
    say(f"\nAll {len(steps)} steps went as they should.")
    if not atomic:
        say("This store cannot save atomically: what two requests at once do to one session was left out.")


class _Story:
    def __init__(self, port: int, say: Say) -> None:
        self.say = say
        self.laptop = Browser(port)
        self.phone = Browser(port)
        #: With the cookie from before the login, then with the one from before the logout.
        self.thief = Browser(port)

    def send(self, browser: Browser, method: str, path: str, expected: str) -> Answer:
        """Send a request, tell about it, and check the text that comes back."""
        sent = _shortened(browser)
        answer = browser.request(method, path)
        self.say(f"   {method} {path}  with {sent}")
        self.say(f"   {answer.status} {answer.text.strip()!r}{_told(answer, browser)}")
        _check(answer.status == 200, f"the status is {answer.status}, not 200")
        _check(answer.text == expected, f"the answer is {answer.text!r}, not {expected!r}")
        return answer


def _first_visit(story: _Story) -> None:
    """First visit: nobody knows us, so we get a cookie."""
    answer = story.send(story.laptop, "GET", "/", "Visit number 1 of a guest\n")
    _check(len(answer.set_cookies) == 1, "there is no cookie")
    _check("HttpOnly; SameSite=Lax" in answer.set_cookies[0], "the cookie is not HttpOnly and SameSite=Lax")
    _check(answer.header("Cache-Control") == "no-store", "caches may keep the cookie")
    _check(answer.header("Vary") == "Cookie", "caches are not told that this page depends on the cookie")


def _counter(story: _Story) -> None:
    """We come back twice: the counter goes on, and the cookie is not sent again."""
    for visits in (2, 3):
        answer = story.send(story.laptop, "GET", "/", f"Visit number {visits} of a guest\n")
        _check(not answer.set_cookies, "the cookie was sent again")


def _login(story: _Story) -> None:
    """Login: a new cookie, the same data."""
    story.thief = story.laptop.copy()
    answer = story.send(story.laptop, "POST", "/login?user=anna", "Welcome, anna\n")
    _check(len(answer.set_cookies) == 1, "there is no new cookie")
    _check(story.laptop.cookies != story.thief.cookies, "the cookie is the old one")
    story.send(story.laptop, "GET", "/", "Visit number 4 of anna\n")


def _replay_after_login(story: _Story) -> None:
    """Somebody replays the cookie from before the login: a stranger."""
    story.send(story.thief, "GET", "/", "Visit number 1 of a guest\n")


def _second_device(story: _Story) -> None:
    """A second device logs in: a session of its own."""
    story.send(story.phone, "POST", "/login?user=anna", "Welcome, anna\n")
    story.send(story.phone, "GET", "/", "Visit number 1 of anna\n")
    _check(story.phone.cookies != story.laptop.cookies, "both devices have one cookie")


def _concurrent_requests(story: _Story) -> None:
    """Two requests at once read the same session and change different keys: nothing is lost."""
    began = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        paths = [f"/note?key={key}&value={value}&wait={_WAIT}" for key, value in (("cart", "tea"), ("theme", "dark"))]
        answers = list(pool.map(lambda path: story.laptop.copy().post(path), paths))
    for path, answer in zip(paths, answers, strict=True):
        story.say(f"   POST {path}\n   {answer.status} {answer.text.strip()!r}")
        _check(answer.status == 200, f"the status is {answer.status}, not 200")
    story.say(f"   both took {time.monotonic() - began:.1f} s together, {_WAIT} s each")
    story.send(story.laptop, "GET", "/notes", "cart=tea\ntheme=dark\n")


def _logout(story: _Story) -> None:
    """Logout on the laptop: the session and the cookie are removed; the phone stays."""
    story.thief = story.laptop.copy()
    answer = story.send(story.laptop, "POST", "/logout", "Good bye\n")
    _check(len(answer.set_cookies) == 1, "the cookie was not removed")
    _check(not story.laptop.cookies, "the cookie is still there")
    story.send(story.phone, "GET", "/", "Visit number 2 of anna\n")


def _replay_after_logout(story: _Story) -> None:
    """Somebody replays the cookie from before the logout: a stranger again."""
    story.send(story.thief, "GET", "/", "Visit number 1 of a guest\n")


_STEPS = (
    _first_visit,
    _counter,
    _login,
    _replay_after_login,
    _second_device,
    _concurrent_requests,
    _logout,
    _replay_after_logout,
)


def _check(is_right: bool, complaint: str) -> None:
    if not is_right:
        raise NotAsItShouldBe(complaint)


def _shortened(browser: Browser) -> str:
    """Name the cookies of a jar without telling enough to use them."""
    if not browser.cookies:
        return "no cookie"
    return ", ".join(f"{name}={_short(value)}" for name, value in browser.cookies.items())


def _short(token: str) -> str:
    return ".".join(part[:4] + "***" for part in token.split("."))


def _told(answer: Answer, browser: Browser) -> str:
    if not answer.set_cookies:
        return ""
    return f"  and a cookie: {_shortened(browser)}" if browser.cookies else "  and the cookie removed"
