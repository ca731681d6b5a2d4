"""The story of a login, in each framework, over http and over https."""

import pytest

pytestmark = pytest.mark.servers

FRAMEWORKS = ["flask", "bottle", "pyramid"]
SCHEMES = ["http", "https"]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_visitor_logs_in_by_the_form_and_out_by_the_button(sites, framework, scheme):
    visitor = sites.visitor(framework, scheme)
    visitor.open()
    visitor.open()
    assert visitor.seen() == ("guest", 2)
    before = visitor.cookie()["value"]
    visitor.log_in("anna")
    assert visitor.seen() == ("anna", 3)
    assert visitor.cookie()["value"] != before
    visitor.open()
    assert visitor.seen() == ("anna", 4)
    visitor.log_out()
    assert visitor.seen() == ("guest", 1)
    assert visitor.cookie()["value"].partition(".")[0] != before.partition(".")[0]


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_going_back_after_a_logout_shows_a_guests_page(sites, framework):
    # It may come out of the cache, however old it is: Vary tells the browser that this was for another cookie.
    visitor = sites.visitor(framework, "https")
    visitor.log_in("anna")
    visitor.open("who")
    assert visitor.body() == "anna"
    visitor.open()
    visitor.log_out()
    visitor.wait(lambda: visitor.driver.back() or visitor.driver.current_url.endswith("who"), "the earlier page")
    assert visitor.body() == "guest"


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_cookie_from_before_the_login_opens_nothing(sites, framework):
    visitor = sites.visitor(framework, "https")
    visitor.open()
    old = visitor.cookie()["value"]
    visitor.log_in("anna")
    set_cookie(visitor, old)
    assert visitor.fetch("who") == "guest"


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_cookie_from_before_the_logout_opens_nothing(sites, framework):
    visitor = sites.visitor(framework, "https")
    visitor.log_in("anna")
    old = visitor.cookie()["value"]
    assert visitor.fetch("who") == "anna"
    visitor.log_out()
    set_cookie(visitor, old)
    assert visitor.fetch("who") == "guest"


def test_who_is_logged_in_in_one_framework_is_logged_in_in_all_that_share_the_store(sites):
    sites.visitor("flask", "https").log_in("anna")
    bottle, pyramid = sites.visitor("bottle", "https"), sites.visitor("pyramid", "https")
    bottle.open()
    assert bottle.seen() == ("anna", 2)
    pyramid.open()
    assert pyramid.seen() == ("anna", 3)
    pyramid.log_out()
    bottle.open()
    assert bottle.seen()[0] == "guest"


def set_cookie(visitor, value):
    visitor.driver.delete_all_cookies()
    visitor.driver.add_cookie({"name": "id", "value": value, "secure": True, "httpOnly": True})
    assert visitor.cookie()["value"] == value
