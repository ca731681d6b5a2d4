"""Groups of Redis servers that die, in whole or in part, without a restart of the application."""

import time
from contextlib import closing

import pytest
from harness import Site
from outages import LONGEST, assert_out, assert_unavailable
from servers import TIMEOUT, at_once
from services import DURABLE, RedisCluster, RedisSentinel, temporary_directory

from wsgi_sessions.stores.redis import RedisStore

pytestmark = pytest.mark.servers

_SESSIONS = 20


@pytest.fixture(scope="module", params=["sentinel", "cluster"])
def group(request):
    with temporary_directory() as directory:
        if request.param == "sentinel":
            servers = RedisSentinel(directory, *DURABLE)
        else:
            servers = RedisCluster(directory, *DURABLE, replicas=1)
        with servers:
            yield servers


@pytest.fixture
def site(group):
    with closing(RedisStore(group.url)) as store:
        yield Site(store)


def test_sessions_survive_the_death_of_all_servers(group, site):
    visitors = new_visitors(site)
    wait_for_replicas(group)
    group.kill()
    try:
        assert_out(site, visitors[0])
    finally:
        group.start()
    assert [visitor.read() for visitor in visitors] == [{"number": number} for number in range(_SESSIONS)]
    assert site.visitor().set(number=1).status == 200


# The last one: the servers have other roles afterwards.
def test_sessions_survive_a_failover(group, site):
    visitors = new_visitors(site)
    wait_for_replicas(group)
    primaries_of(group)[0].kill()

    answers = at_once([lambda part=part: visit_until_all_work(visitors[part::4]) for part in range(4)])
    outages = [answer for part in answers for answer in part if answer.status != 200]
    assert outages
    for answer in outages:
        assert_unavailable(answer)
    expected = [{"number": number, "tried": True} for number in range(_SESSIONS)]
    assert [visitor.read() for visitor in visitors] == expected
    assert [visitor.set(number=-1).status for visitor in visitors] == [200] * _SESSIONS
    assert [visitor.read() for visitor in visitors] == [{"number": -1, "tried": True}] * _SESSIONS
    assert site.visitor().visit(lambda session: setattr(session, "owner", "anna")).status == 200
    assert len(site.store.find_by_owner("anna")) == 1


def new_visitors(site):
    """Return visitors with a session each."""
    visitors = [site.visitor() for _ in range(_SESSIONS)]
    for number, visitor in enumerate(visitors):
        assert visitor.set(number=number).status == 200
    return visitors


def primaries_of(group):
    if isinstance(group, RedisSentinel):
        return [group.primary]
    return list({group.primary_of(f"key{number}") for number in range(20)})


def wait_for_replicas(group):
    """Have each primary's replica know what it knows."""
    for primary in primaries_of(group):
        with primary.client() as client:
            assert client.wait(1, 1500) >= 1


def visit_until_all_work(visitors):
    """Have each visitor write until that is stored, and return all answers."""
    answers = []
    deadline = time.monotonic() + TIMEOUT
    waiting = list(visitors)
    while waiting:
        assert time.monotonic() < deadline, "there is no new primary"
        for visitor in list(waiting):
            begun = time.monotonic()
            answers.append(visitor.visit(lambda session: session.update(tried=True)))
            assert time.monotonic() - begun <= LONGEST
            if answers[-1].status == 200:
                waiting.remove(visitor)
        time.sleep(0.02)
    return answers
