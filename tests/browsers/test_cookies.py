"""The session cookie as the browser's own store reports it, and what the browser does by its attributes."""

import time

import pytest

pytestmark = pytest.mark.servers

HOUR = 3600
NAMES = {"default": "id", "host": "__Host-id"}
ELSEWHERE = "127.0.0.1"  # to a browser, another site than localhost


def framed(sites, kind):
    """Embed a site in a page of another one, and return a visitor of that, with the frame in front."""
    embedded = sites.visitor("flask", "https", kind)
    visitor = sites.visitor("flask", "https", host=ELSEWHERE)
    visitor.open(f"frame?address={embedded.address}")
    visitor.driver.switch_to.frame(0)
    return visitor


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("framework", ["flask", "bottle", "pyramid"])
def test_the_default_cookie_is_secure_http_only_and_lax(sites, framework, scheme):
    visitor = sites.visitor(framework, scheme)
    visitor.open()
    assert shown(visitor.cookie()) == {
        "name": "id", "domain": "localhost", "path": "/", "httpOnly": True, "secure": True, "sameSite": "Lax",
        "session": True, "expires": -1,
    }  # fmt: skip


def shown(cookie):
    names = ("name", "domain", "path", "httpOnly", "secure", "sameSite", "session", "expires")
    return {name: cookie[name] for name in names}


def test_scripts_see_a_cookie_only_if_it_is_not_http_only(sites):
    read = "return document.cookie"
    visitor = sites.visitor("flask", "https", "open")
    visitor.open()
    assert visitor.driver.execute_script(read) == f"open={visitor.cookie()['value']}"
    visitor = sites.visitor("flask", "https")
    visitor.open()
    assert [cookie["name"] for cookie in visitor.cookies()] == ["open", "id"]
    assert "id=" not in visitor.driver.execute_script(read)


@pytest.mark.parametrize(
    ("kind", "scheme", "host"),
    [
        ("default", "https", "localhost"),
        ("default", "https", ELSEWHERE),
        # It is this machine: nobody listens on the way.
        ("default", "http", "localhost"),
        ("default", "http", ELSEWHERE),
        ("host", "https", "localhost"),
        ("host", "http", "localhost"),
        ("insecure", "http", "localhost"),
    ],
)
def test_a_cookie_is_taken_and_sent_back(sites, kind, scheme, host):
    visitor = sites.visitor("flask", scheme, kind, host)
    visitor.open()
    visitor.open()
    assert visitor.seen() == ("guest", 2)
    cookie = visitor.cookie()
    assert (cookie["name"], cookie["secure"], cookie["domain"]) == (NAMES.get(kind, kind), kind != "insecure", host)
    assert [answer.refusals for answer in visitor.network() if answer.set_cookies] == [[]]


@pytest.mark.parametrize(("kind", "same_site"), [("default", "Lax"), ("strict", "Strict"), ("none", "None")])
def test_same_site_is_as_configured(sites, kind, same_site):
    visitor = sites.visitor("flask", "https", kind)
    visitor.open()
    assert visitor.cookie()["sameSite"] == same_site


@pytest.mark.parametrize(("kind", "user"), [("default", "anna"), ("strict", "guest"), ("none", "anna")])
def test_a_link_on_another_site_finds_the_session_unless_it_is_strict(sites, kind, user):
    visitor = sites.visitor("flask", "https", kind)
    visitor.log_in("anna")
    sites.visitor("flask", "https", host=ELSEWHERE).open("login")
    visitor.driver.execute_script("location.href = arguments[0]", visitor.address + "who")
    visitor.wait(lambda: visitor.body() == user, f"the page of {user}")
    visitor.open("who")
    assert visitor.body() == "anna"


def test_a_link_on_another_site_to_a_page_that_writes_replaces_a_strict_session(sites):
    # Why it is not the default: the page counts a guest's visit, and gives the guest a cookie.
    visitor = sites.visitor("flask", "https", "strict")
    visitor.log_in("anna")
    sites.visitor("flask", "https", host=ELSEWHERE).open("login")
    visitor.driver.execute_script("location.href = arguments[0]", visitor.address)
    visitor.wait(lambda: visitor.driver.current_url == visitor.address, "the page of the link")
    visitor.open("who")
    assert visitor.body() == "guest"


@pytest.mark.parametrize(("kind", "user"), [("default", "anna"), ("none", "guest")])
def test_a_form_on_another_site_logs_nobody_out_unless_the_cookie_says_none(sites, kind, user):
    visitor = sites.visitor("flask", "https", kind)
    visitor.log_in("anna")
    sites.visitor("flask", "https", host=ELSEWHERE).open("login")
    visitor.driver.execute_script(
        "const form = document.forms[0]; form.action = arguments[0]; form.submit()", visitor.address + "logout"
    )
    visitor.wait(lambda: visitor.driver.current_url == visitor.address, "the page after the form")
    visitor.open("who")
    assert visitor.body() == user


def test_in_the_frame_of_another_site_a_partitioned_cookie_works(sites):
    sites.visitor("flask", "https", "partitioned").log_in("anna")
    visitor = framed(sites, "partitioned")
    # It is another one than that of the site by itself, and anna has not logged in here.
    assert visitor.seen() == ("guest", 1)
    visitor.driver.refresh()
    visitor.driver.switch_to.frame(0)
    assert visitor.seen() == ("guest", 2)
    keys = [(cookie["name"], cookie["partitionKey"]["topLevelSite"]) for cookie in visitor.cookies()]
    assert sorted(keys) == [("partitioned", f"https://{ELSEWHERE}"), ("partitioned", "https://localhost")]
    assert not any(answer.refusals for answer in visitor.network())


@pytest.mark.parametrize("kind", ["default", "strict"])
def test_in_the_frame_of_another_site_no_other_cookie_works(sites, kind):
    sites.visitor("flask", "https", kind).log_in("anna")
    visitor = framed(sites, kind)
    assert visitor.seen() == ("guest", 1)
    visitor.driver.refresh()
    visitor.driver.switch_to.frame(0)
    assert visitor.seen() == ("guest", 1)
    # What the frame was given did not replace it.
    visitor.driver.switch_to.default_content()
    own = sites.visitor("flask", "https", kind)
    own.open()
    assert own.seen()[0] == "anna"


def test_a_session_that_ends_by_inactivity_has_a_cookie_that_ends_with_it(sites):
    visitor = sites.visitor("flask", "https", "persistent")
    visitor.open()
    cookie = visitor.cookie()
    assert not cookie["session"]
    assert HOUR - 30 < cookie["expires"] - time.time() <= HOUR


@pytest.mark.parametrize("kind", ["default", "host", "strict", "none", "partitioned", "persistent", "insecure"])
def test_the_removal_leaves_no_cookie(sites, kind):
    visitor = sites.visitor("flask", "https", kind)
    visitor.log_in("anna")
    assert len(visitor.cookies()) == 1
    # Not by the button, whose next page gives the guest a cookie.
    visitor.open("parallel")
    assert visitor.fetch("end", user="anna") == "gone"
    assert visitor.cookies() == []
    assert not any(answer.refusals for answer in visitor.network())


def test_closing_the_browser_ends_the_session_cookie_and_keeps_the_persistent_one(
    sites, chromium, certificate, tmp_path
):
    def seen(driver, kind):
        visitor = sites.visitor("flask", "https", kind, driver=driver)
        visitor.open()
        return visitor.seen()

    with chromium.running(tmp_path, certificate.fingerprint) as driver:
        assert (seen(driver, "default"), seen(driver, "persistent")) == (("guest", 1), ("guest", 1))
        assert (seen(driver, "default"), seen(driver, "persistent")) == (("guest", 2), ("guest", 2))
    with chromium.running(tmp_path, certificate.fingerprint) as driver:
        assert (seen(driver, "default"), seen(driver, "persistent")) == (("guest", 1), ("guest", 3))
