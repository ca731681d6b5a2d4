"""Servers that take connections and say nothing: all kinds are waited for at the same time, before the first test."""

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from math import inf
from typing import Any, NamedTuple

import pytest
import services
from backends import new_table
from harness import Site
from outages import LONGEST, assert_unavailable
from redis_places import WAYS, redis_place
from servers import at_once
from services import Proxy, silent_port, temporary_directory

from wsgi_sessions import store_from_url
from wsgi_sessions.stores.redis import RedisStore
from wsgi_sessions.stores.sql import SQLStore
from wsgi_sessions.token import SessionToken

pytestmark = pytest.mark.servers

# Visitors at once, each with a connection of its own: none may have to wait for another.
_AT_ONCE = 18
# Seconds, after which an answer is not waited for any more.
_PATIENCE = 6.0
#: What opens a store, by kind, given ports on which nobody says anything.
SILENT: dict[str, Callable[[int, int, int], Any]] = {
    "postgresql": lambda port, *_: store_from_url(f"postgresql://postgres@127.0.0.1:{port}/test"),
    "mariadb": lambda port, *_: store_from_url(f"mariadb://root@127.0.0.1:{port}/test"),
    "memcached": lambda port, *_: store_from_url(f"memcached://127.0.0.1:{port}"),
    "memcached-several": lambda *ports: store_from_url(f"memcached://{hosts(ports)}"),
    "server-url": lambda port, *_: store_from_url(f"redis://127.0.0.1:{port}/0"),
    "server-client": lambda port, *_: RedisStore(WAYS["server-client"](port)),
    "sentinel-url": lambda *ports: store_from_url(f"redis+sentinel://{hosts(ports)}/mymaster/0"),
    "sentinel-client": lambda port, *_: RedisStore(WAYS["sentinel-client"](port)),
    "cluster-url": lambda *ports: store_from_url(f"redis+cluster://{hosts(ports)}"),
}
#: Those that are used, and then frozen. A RedisCluster of the application's own waits for as long as it was told.
FROZEN = ["postgresql", "mariadb", "memcached", *(way for way in WAYS if way != "cluster-client")]


def hosts(ports):
    return ",".join(f"127.0.0.1:{port}" for port in ports)


class Answered(NamedTuple):
    """How one request was answered, and how many seconds that took."""

    what: str
    response: Any
    seconds: float


class Outcome(NamedTuple):
    """What happened to one kind.

    :param during: while the server was silent.
    :param after: when it spoke again.
    """

    during: list[Answered]
    after: list[Answered]


@pytest.fixture(scope="module")
def silent():
    """How each kind was answered whose server never said anything."""
    return all_at_once({kind: lambda kind=kind: from_the_start(SILENT[kind]) for kind in SILENT})


@pytest.fixture(scope="module")
def frozen():
    """How each kind was answered whose server fell silent while it was used, and spoke again."""
    with ExitStack() as ends:
        # One after the other: only the silence is waited for at once.
        places = {kind: behind_a_proxy(kind, ends) for kind in FROZEN}
        return all_at_once({kind: lambda place=place: amid_use(*place) for kind, place in places.items()})


def all_at_once(happenings):
    def outcome_of(happen):
        try:
            return happen()
        # Told by the test of that kind.
        except Exception as error:
            return error

    outcomes = at_once([lambda happen=happen: outcome_of(happen) for happen in happenings.values()])
    return dict(zip(happenings, outcomes, strict=True))


def from_the_start(open):
    # The ports are closed before the store: whoever still waits for them then does no longer.
    with ExitStack() as end, ExitStack() as ports_end:
        store = open(*(ports_end.enter_context(silent_port()) for _ in range(3)))
        end.enter_context(closing(store))
        site = Site(store)
        visitors = [site.visitor() for _ in range(_AT_ONCE)]
        for visitor in visitors:
            visitor.put("id", SessionToken.generate().value)
        first = requests(site, visitors)
        return Outcome([*first, *requests(site, visitors)], [])


def amid_use(proxy, store):
    with closing(store):
        site = Site(store)
        visitors = [site.visitor() for _ in range(_AT_ONCE)]
        at_once([lambda visitor=visitor: visitor.set(number=1) for visitor in visitors])
        at_once([visitor.read for visitor in visitors])
        proxy.freeze()
        during = requests(site, visitors)
        proxy.thaw()
        after = [answered("the first request", lambda: visitors[0].set(number=2))]
        for visitor in visitors[1:]:
            after.append(answered("a read", lambda visitor=visitor: visitor.visit(check_number)))
        return Outcome(during, after)


def behind_a_proxy(kind, ends):
    """Return a proxy before a server, and a store that goes through it."""
    if kind in WAYS:
        directory = ends.enter_context(temporary_directory())
        place = ends.enter_context(redis_place(kind, directory, Proxy))
        return place.proxy, place.open()
    url = services.url_of(kind)
    proxy = ends.enter_context(Proxy(int(url.rpartition(":")[2].partition("/")[0])))
    if kind == "memcached":
        return proxy, store_from_url(proxy.through(url))
    table = ends.enter_context(new_table(url))
    return proxy, SQLStore(proxy.through(url), table=table)


def check_number(session):
    # The write that was not answered may have happened.
    assert session["number"] in (1, 3), session["number"]


def requests(site, visitors):
    """Send requests of all kinds at once, all of them to a session but the last."""
    works = [
        *(("a read", lambda visitor=visitor: visitor.visit(len)) for visitor in visitors[::2]),
        *(("a write", lambda visitor=visitor: visitor.set(number=3)) for visitor in visitors[1::2]),
        ("a new session", lambda: site.visitor().set(number=3)),
        ("a login", lambda: site.visitor().visit(lambda session: setattr(session, "owner", "anna"))),
        ("nothing", lambda: site.visitor().visit()),
    ]
    answers = [Answered(what, None, inf) for what, _ in works]

    def fill(place, what, request):
        answers[place] = answered(what, request)

    threads = [
        # Those that are not waited for end when the port is closed.
        threading.Thread(target=fill, args=(place, *work), daemon=True)
        for place, work in enumerate(works)
    ]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + _PATIENCE
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return list(answers)


def answered(what, request):
    """Send a request; an error that leaves the application is no response."""
    begun = time.monotonic()
    try:
        response = request()
    except Exception as error:
        response = error
    return Answered(what, response, time.monotonic() - begun)


def outcome_of(outcomes, kind):
    outcome = outcomes[kind]
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def check_outage(outcome):
    late = {answer.what: round(answer.seconds, 2) for answer in outcome.during if answer.seconds > LONGEST}
    assert late == {}
    for answer in outcome.during:
        assert not isinstance(answer.response, Exception), repr(answer.response)
        if answer.what == "nothing":
            assert (answer.response.status, answer.response.set_cookies) == (200, [])
            assert answer.seconds < LONGEST / 3
        else:
            assert_unavailable(answer.response)


@pytest.mark.parametrize("kind", SILENT)
def test_a_server_that_never_says_anything_is_an_outage_within_three_seconds(kind, silent):
    check_outage(outcome_of(silent, kind))


@pytest.mark.parametrize("kind", FROZEN)
def test_a_server_that_falls_silent_is_an_outage_within_three_seconds(kind, frozen):
    check_outage(outcome_of(frozen, kind))


@pytest.mark.parametrize("kind", FROZEN)
def test_a_server_that_speaks_again_is_used_again(kind, frozen):
    after = outcome_of(frozen, kind).after
    assert [(answer.what, answer.response) for answer in after if getattr(answer.response, "status", 0) != 200] == []
