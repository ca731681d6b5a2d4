"""The visitor's story, and what must not be lost, under gunicorn over each kind of store that workers can share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
import services
from backends import new_name, new_table
from servers import Server, at_once, running
from test_servers import slow_request

from demo.visitor import visit
from wsgi_sessions import SessionStore, store_from_url

pytestmark = pytest.mark.servers

KINDS = (
    "file",
    "sqlite",
    "postgresql",
    "mariadb",
    "redis",
    "redis-cluster",
    "redis-sentinel",
    "memcached",
    "redis-cache-before-postgresql",
)


@pytest.fixture(params=KINDS)
def store_url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of an empty store, where the applications of tests/apps find it."""
    kind = request.param
    with ExitStack() as stack:
        if kind == "redis-cache-before-postgresql":
            monkeypatch.setenv("CACHE", services.url_of("redis").rpartition(":")[2].partition("/")[0])
            kind = "postgresql"
        if kind == "file":
            url = (tmp_path / "sessions").as_uri()
        elif kind == "sqlite":
            url = f"sqlite:///{tmp_path / 'sessions.db'}"
        elif kind in ("postgresql", "mariadb"):
            url = services.url_of(kind)
            url += f"?table={stack.enter_context(new_table(url))}"
        else:
            url = f"{services.url_of(kind)}?prefix={new_name()}"
        monkeypatch.setenv("STORE", url)
        yield url


@pytest.fixture
def server(store_url: str, tmp_path: Path) -> Iterator[Server]:
    with running("gunicorn-gthread", "desk:application", tmp_path) as server:
        yield server


@pytest.mark.parametrize("kind", ["gunicorn-sync", "gunicorn-preload-gthread"])
def test_the_visitors_story(kind: str, store_url: str, tmp_path: Path) -> None:
    lines: list[str] = []
    with running(kind, "story:application", tmp_path) as server:
        visit(server.port, lines.append, atomic=_is_atomic(store_url))
    assert any("as they should" in line for line in lines)


def test_parallel_clients_with_a_key_each_lose_no_write(store_url: str, server: Server) -> None:
    if not _is_atomic(store_url):
        pytest.skip("CachelibStore.atomic is False")
    browser = server.browser()
    browser.post("/login?user=anna")

    def write_ten(number: int) -> list[int]:
        own = browser.copy()
        return [own.post(f"/put?key=key{number}&value={value}").status for value in range(10)]

    statuses = at_once([lambda number=number: write_ten(number) for number in range(8)])  # type: ignore[misc]
    assert statuses == [[200] * 10] * 8
    assert [browser.get(f"/get?key=key{number}").text for number in range(8)] == ["9"] * 8
    assert browser.get("/get?key=user").text == "anna"


def test_logout_beats_a_slow_request(server: Server, store_url: str, tmp_path: Path) -> None:
    browser = server.browser()
    browser.post("/login?user=anna")
    old = browser.copy()
    with slow_request(old.copy(), tmp_path, "risen") as answers:
        assert browser.post("/logout").status == 200
    assert [(answer.status, answer.set_cookies) for answer in answers] == [(200, [])]
    assert old.get("/get?key=late").text == "nothing"
    assert old.get("/get?key=user").text == "nothing"
    assert _is_empty(store_from_url(store_url))


def _is_atomic(url: str) -> bool:
    with closing(store_from_url(url)) as store:
        return store.atomic


def _is_empty(store: SessionStore) -> bool:
    records = list(store.scan()) if store.enumerable else []
    store.close()
    return records == []
