"""``gunicorn --preload`` with stores that the master has used, all of them behind one server: T-68."""

import json
import os
from contextlib import ExitStack, closing
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import services
from backends import new_name
from servers import at_once, running
from sql_places import ENGINES, execute

from wsgi_sessions.stores.sql import SQLStore

pytestmark = [
    pytest.mark.servers,
    pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="only Linux tells which files a process has open"),
]

KINDS = ("redis", "redis-sentinel", "redis-cluster", "memcached", "postgresql", "mariadb", "sqlite")
_WORKERS = 4
_CLIENTS = 8
# Of each client, with nine requests to each store: more than 2,000 of all.
_ROUNDS = 4


class Outcome(NamedTuple):
    """What happened.

    :param answers: those to each client in each round, by store.
    :param opened: what each process has open of each store.
    """

    answers: dict[str, list[Any]]
    opened: dict[str, dict[int, set[str]]]
    master: int


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    directory = tmp_path_factory.mktemp("preload")
    options = (f"--workers={_WORKERS}",)
    with ExitStack() as ends, pytest.MonkeyPatch.context() as environment:
        urls = {kind: url_of(kind, ends) for kind in KINDS}
        environment.setenv("STORES", json.dumps(urls))
        with running("gunicorn-preload-gthread", "warmed:application", directory, *options) as web:
            clients = at_once([lambda number=number: live(web, f"user{number}") for number in range(_CLIENTS)])
            answers = {kind: [each for client in clients for each in client[kind]] for kind in KINDS}
            processes = {web.process.pid, *pids_of(web)}
            assert len(processes) == 1 + _WORKERS
            opened = {kind: {pid: connections(pid, url) for pid in processes} for kind, url in urls.items()}
            yield Outcome(answers, opened, web.process.pid)


def url_of(kind, ends):
    """Return the URL of a store at a place of its own."""
    name = new_name()
    if kind == "sqlite":
        return f"sqlite:///{services.session_directory() / name}"
    if kind not in ENGINES:
        return f"{services.url_of(kind)}?prefix={name}:"
    url = services.shared(kind).url
    with closing(SQLStore(url, table=name)) as store:
        store.create_schema()
    ends.callback(execute, kind, f"DROP TABLE {name}")
    return f"{url}?table={name}"


def live(web, user):
    """Live through all stores, round after round, and return the answers of each."""
    browsers = {kind: web.browser() for kind in KINDS}
    pages = (
        *(f"/login?user={user}", "/put?key=a&value=1", "/get?key=a", "/get?key=user", f"/put?key=b&value={user}"),
        *("/get?key=b", "/plain", "/logout", "/get?key=a"),
    )
    return {
        kind: [[browser.get(f"/{kind}{page}") for page in pages] for _ in range(_ROUNDS)]
        for kind, browser in browsers.items()
    }


def pids_of(web):
    """Return the processes that the server has started."""
    return {int(pid) for pid in Path(f"/proc/{web.process.pid}/task/{web.process.pid}/children").read_text().split()}


def connections(pid, url):
    """Return what a process has open of a store: the sockets that lead to its ports, or its files."""
    links = [read_link(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd")]
    if url.startswith("sqlite"):
        path = url.removeprefix("sqlite:///")
        # Each must have opened it for itself, which cannot be seen; the master, when it forked, had nothing open.
        return {f"{link} of {pid}" for link in links if link.startswith(path)}
    return {f"socket:[{inode}]" for inode in sockets_to(ports_of(url))}.intersection(links)


def read_link(path):
    try:
        return os.readlink(path)
    except FileNotFoundError:  # closed meanwhile
        return ""


def sockets_to(ports):
    """Return the inodes of the sockets of this machine that are connected to these ports."""
    fields = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {field[9] for field in fields if int(field[2].rpartition(":")[2], 16) in ports}


def ports_of(url):
    """Return the ports of all servers that a store's URL leads to."""
    if url.startswith("redis+sentinel"):
        return {node.port for node in services.shared("redis-sentinel").nodes}
    hosts = url.partition("?")[0].rpartition("@")[2].rpartition("//")[2].partition("/")[0]
    return {int(host.rpartition(":")[2]) for host in hosts.split(",")}


@pytest.mark.parametrize("kind", KINDS)
def test_no_answers_are_mixed_up(kind, outcome):
    rounds = outcome.answers[kind]
    assert len(rounds) == _CLIENTS * _ROUNDS
    for answers in rounds:
        user = answers[0].text
        assert [answer.status for answer in answers] == [200] * 9
        assert [answer.text for answer in answers] == [user, "1", "1", user, user, user, "plain", "gone", "nothing"]


@pytest.mark.parametrize("kind", KINDS)
def test_no_process_has_a_connection_of_another(kind, outcome):
    opened = outcome.opened[kind]
    # Which of the workers gets how many requests is the server's affair.
    assert sum(bool(opened[pid]) for pid in opened if pid != outcome.master) > 1
    assert {(one, two) for one, two in combinations(opened, 2) if opened[one] & opened[two]} == set()
