"""Two transactions that wait for each other: the server takes one of them back, which was not in the wrong."""

import threading
from contextlib import closing

import pytest
from outages import new_record
from sql_places import ENGINES, connect, sql_place
from sqlalchemy import text

from wsgi_sessions import StoreError

# In PostgreSQL the one that looks first gives up; MariaDB spares the one that has changed more.
_PREPARED = {
    "postgresql": "SET deadlock_timeout = '10s'",
    "mariadb": "SET TRANSACTION ISOLATION LEVEL READ COMMITTED",
}

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module", params=ENGINES)
def place(request):
    with sql_place(request.param) as place:
        yield place


@pytest.fixture
def store(place):
    with closing(place.open()) as store:
        for id in ("mine", "theirs", "more", "and more"):
            store.create(new_record(id))
        yield store
        for record in store.scan():
            store.delete(record.id)


class Rival:
    """Locks a row, and when it is asked to, wants the one that the store has locked; then it commits."""

    def __init__(self, place):
        self._place = place
        self._wants = threading.Event()
        self._thread = None

    def begin(self):
        self._wants.clear()
        has_locked = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(has_locked,))
        self._thread.start()
        assert has_locked.wait(10)

    def _run(self, has_locked):
        with closing(connect(self._place.kind)) as connection, connection.cursor() as cursor:
            cursor.execute(_PREPARED[self._place.kind])
            for id in ("theirs", "more", "and more"):
                cursor.execute(f"UPDATE {self._place.table} SET version = version + 1 WHERE id = '{id}'")
            has_locked.set()
            self._wants.wait(10)
            cursor.execute(f"UPDATE {self._place.table} SET version = version + 1 WHERE id = 'mine'")
            connection.commit()

    def want_mine(self):
        self._wants.set()

    def end(self):
        self._thread.join(10)


def lock_both(connection, place, rival):
    """Lock a row that the rival wants, then one that it has."""
    for id in ("mine", "theirs"):
        connection.execute(text(f"UPDATE {place.table} SET version = version + 10 WHERE id = '{id}'"))
        rival.want_mine()


def test_what_a_deadlock_took_back_is_done_again(place, store):
    rival, attempts = Rival(place), []
    rival.begin()

    def work(connection):
        attempts.append(len(attempts))
        lock_both(connection, place, rival)

    store._used().transact("test", work)
    rival.end()
    assert attempts == [0, 1]
    assert [store.load(id).version for id in ("mine", "theirs")] == [12, 12]


def test_after_three_deadlocks_it_is_an_outage(place, store):
    rival, attempts = Rival(place), []

    def work(connection):
        rival.begin()
        attempts.append(len(attempts))
        try:
            lock_both(connection, place, rival)
        finally:
            connection.rollback()
            rival.end()

    with pytest.raises(StoreError, match=r"(?i)deadlock"):
        store._used().transact("test", work)
    assert attempts == [0, 1, 2]
    assert [store.load(id).version for id in ("mine", "theirs")] == [4, 4]
