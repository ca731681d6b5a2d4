"""The headers that go with a session: Vary, Cache-Control and one Set-Cookie."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
from harness import Headers
from werkzeug.http import parse_set_header

from wsgi_sessions import SessionCookie, SessionToken
from wsgi_sessions.headers import forbid_storing, set_cookie, vary_by_cookie

OURS = ("Set-Cookie", "id=new; HttpOnly")


class TestVary:
    """T-62."""

    @pytest.mark.parametrize(
        ("before", "after"),
        [
            ([], [("Vary", "Cookie")]),
            ([("Vary", "Accept-Encoding")], [("Vary", "Accept-Encoding, Cookie")]),
            ([("vary", "Accept, accept-language")], [("vary", "Accept, accept-language, Cookie")]),
            ([("Vary", "Cookie")], [("Vary", "Cookie")]),
            ([("VARY", "accept, COOKIE")], [("VARY", "accept, COOKIE")]),
            ([("Vary", "*")], [("Vary", "*")]),
            ([("Vary", "Accept, *")], [("Vary", "Accept, *")]),
            ([("Vary", "")], [("Vary", "Cookie")]),
            ([("Vary", "Cookies, X-Cookie")], [("Vary", "Cookies, X-Cookie, Cookie")]),
            ([("Vary", "Accept"), ("Vary", "Origin")], [("Vary", "Accept, Cookie"), ("Vary", "Origin")]),
            ([("Vary", "Accept"), ("Vary", "cookie")], [("Vary", "Accept"), ("Vary", "cookie")]),
            ([("Vary", "Accept"), ("Vary", "*")], [("Vary", "Accept"), ("Vary", "*")]),
        ],
    )
    def test_cookie_is_merged_in_once(self, before: Headers, after: Headers) -> None:
        """T-62: what is there stays, in its case; a star covers everything; several headers are one list."""
        assert vary_by_cookie(before) == after

    def test_it_keeps_its_place(self) -> None:
        """P-23."""
        headers = [("A", "1"), ("Vary", "Accept"), ("B", "2")]
        assert vary_by_cookie(headers) == [("A", "1"), ("Vary", "Accept, Cookie"), ("B", "2")]

    def test_merging_twice_changes_nothing_more(self) -> None:
        """T-62, T-65: nested middlewares."""
        once = vary_by_cookie([("Vary", "Accept")])
        assert vary_by_cookie(once) == once
        assert "cookie" in parse_set_header(once[0][1])


class TestCacheControl:
    """T-63."""

    @pytest.mark.parametrize(
        "value",
        [
            "private",
            "private, max-age=60",
            "Private",
            "no-cache",
            "max-age=0, no-cache, must-revalidate",
            "no-store",
            "No-Store, max-age=0",
            "public, no-store",
            "private, s-maxage=60",
        ],
    )
    def test_what_keeps_shared_caches_away_is_respected(self, value: str) -> None:
        """T-63."""
        headers = [("A", "1"), ("cache-control", value), ("B", "2")]
        assert forbid_storing(headers) == headers

    @pytest.mark.parametrize(
        "value",
        [
            "public",
            "public, max-age=60",
            "s-maxage=60",
            "max-age=60",
            "must-revalidate",
            "",
            'no-cache="Set-Cookie"',
            'private="X-Field"',
            "no-cache, public",
            "no-cache, s-maxage=60",
            "nonsense=1=2, ,",
        ],
    )
    def test_all_else_is_replaced(self, value: str) -> None:
        """T-63: one that names fields leaves the rest of the response to be stored."""
        headers = [("A", "1"), ("cache-control", value), ("B", "2")]
        assert forbid_storing(headers) == [("A", "1"), ("B", "2"), ("Cache-Control", "no-store")]

    def test_without_one_it_is_added(self) -> None:
        """T-63."""
        assert forbid_storing([("A", "1")]) == [("A", "1"), ("Cache-Control", "no-store")]

    def test_several_headers_are_one_list(self) -> None:
        """T-63."""
        kept = [("Cache-Control", "max-age=60"), ("Cache-Control", "private")]
        assert forbid_storing(kept) == kept
        replaced = [("Cache-Control", "max-age=60"), ("Cache-Control", "public")]
        assert forbid_storing(replaced) == [("Cache-Control", "no-store")]


class TestSetCookie:
    """T-38."""

    def test_it_is_added_at_the_end(self) -> None:
        """P-23: other cookies stay headers of their own, in their order."""
        headers = [("Set-Cookie", f"c{number}=1") for number in range(5)]
        assert set_cookie(headers, "id", OURS) == [*headers, OURS]

    @pytest.mark.parametrize("value", ["id=x", "id=x; Path=/", " id=x", "id =x", "\tid\t= x", "id="])
    def test_one_of_its_name_is_dropped(self, value: str, caplog: pytest.LogCaptureFixture) -> None:
        """T-38: browsers trim the name; and the developer is told."""
        headers = [("Set-Cookie", "a=1"), ("set-cookie", value), ("Set-Cookie", "b=2")]
        with caplog.at_level(logging.WARNING):
            assert set_cookie(headers, "id", OURS) == [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), OURS]
        assert len(caplog.records) == 1
        assert "'id'" in caplog.text
        assert "new" not in caplog.text

    @pytest.mark.parametrize("value", ["ID=x", "identity=x", "xid=x", "a=id=x", "id", "a=1; id=x", "i=d"])
    def test_one_of_another_name_stays(self, value: str, caplog: pytest.LogCaptureFixture) -> None:
        """T-38."""
        assert set_cookie([("Set-Cookie", value)], "id", OURS) == [("Set-Cookie", value), OURS]
        assert caplog.records == []

    def test_another_header_of_such_a_value_stays(self) -> None:
        """T-38."""
        assert set_cookie([("X-Copy", "id=x")], "id", OURS) == [("X-Copy", "id=x"), OURS]


@pytest.mark.parametrize("function", [vary_by_cookie, forbid_storing, lambda headers: set_cookie(headers, "id", OURS)])
@pytest.mark.parametrize(
    "headers",
    [[], [("Vary", "Accept"), ("Cache-Control", "public"), ("Set-Cookie", "id=x")], [("Vary", "*")]],
)
def test_the_list_given_is_never_changed_nor_returned(function: Callable[[Headers], Headers], headers: Headers) -> None:
    """P-04: the server may change what it gets, and the app may send its own list again."""
    before = list(headers)
    result = function(headers)
    assert type(result) is list
    assert result is not headers
    assert headers == before


def test_our_values_are_latin_1_without_control_characters() -> None:
    """P-05."""
    cookie = SessionCookie("__Host-id")
    for token in (SessionToken.generate(), None):
        headers = forbid_storing(set_cookie(vary_by_cookie([]), cookie.name, cookie.header(token, 60)))
        for name, value in headers:
            assert (type(name), type(value)) == (str, str)
            assert value.encode("latin-1").isascii()
            assert value.isprintable()
