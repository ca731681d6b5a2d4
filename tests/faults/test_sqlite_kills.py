"""F-24: processes that are killed while they write to a SQLite file, again and again."""

import multiprocessing
import os
import random
import signal
import sqlite3
import time
import warnings
from contextlib import closing, contextmanager

import pytest
from outages import new_record
from services import TIMEOUT

from wsgi_sessions import Record, SQLiteStore

#: So often; ``SQLITE_KILLS=1000 pytest tests/faults/test_sqlite_kills.py`` for more.
ROUNDS = int(os.environ.get("SQLITE_KILLS", "30"))
_IDS = 7
_STEP_BYTES = 4


@pytest.mark.parametrize("durability", ["process", "power"])
def test_what_was_acknowledged_is_there_after_each_kill(tmp_path, durability):
    chosen = random.Random(durability)
    path = tmp_path / "sessions.db"
    done, stored = 0, {}
    with closing(SQLiteStore(path)) as beside:
        for round in range(ROUNDS):
            with writing(path, durability, done) as (process, reported):
                last = wait_for_steps(reported, chosen.randint(1, 60))
                if round % 2:
                    # The file stays in use, instead of being opened anew after the kill.
                    beside.load("id-0")
                time.sleep(chosen.uniform(0, 0.002))
                os.kill(process.pid, signal.SIGKILL)
                last = wait_for_steps(reported) or last
            stored, step_after = states(stored, done, last + 1)
            found = contents(beside if round % 2 else SQLiteStore(path), path)
            assert found in (stored, step_after)
            done = last + 1 + (found != stored)
            stored = found
    assert done >= ROUNDS


@contextmanager
def writing(path, durability, first):
    """Have a child write from one step on, which must be killed in the block, and a pipe through which it reports."""
    context = multiprocessing.get_context("fork")
    reports, child_end = os.pipe()
    process = context.Process(target=write_for_ever, args=(path, durability, first, child_end), daemon=True)
    with warnings.catch_warnings():
        # Python 3.12 warns about a fork beside other threads.
        warnings.simplefilter("ignore", DeprecationWarning)
        process.start()
    os.close(child_end)
    try:
        with open(reports, "rb", buffering=0) as reported:
            yield process, reported
    finally:
        process.kill()
        process.join(TIMEOUT)
    assert process.exitcode == -signal.SIGKILL
    process.close()


def wait_for_steps(reported, count=None):
    """Read as many reports, or all that there are until the end, and return the last one; None if there is none."""
    last = None
    while count != 0 and (report := reported.read(_STEP_BYTES)):
        last = int.from_bytes(report, "big")
        count = count and count - 1
    assert not count, "the child died by itself"
    return last


def write_for_ever(path, durability, step, reports):
    store = SQLiteStore(path, durability=durability)
    while True:
        write(store, step)
        os.write(reports, step.to_bytes(_STEP_BYTES, "big"))
        step += 1


def write(store, step):
    """Create, save or delete: whatever a step is."""
    id = id_of(step)
    record = store.load(id)
    if record is None:
        store.create(new_record(id, payload_of_step(step)))
    elif is_deletion(step):
        store.delete(id)
    else:
        store.save(Record(id, payload_of_step(step), record.expires, record.version))


def states(stored, first, last):
    """Return what must be stored after the steps before the last, and after that one."""
    before = dict(stored)
    for step in range(first, last):
        apply(before, step)
    after = dict(before)
    apply(after, last)
    return before, after


def apply(records, step):
    """Do what write() does, to a dict of versions and payloads."""
    id = id_of(step)
    if id not in records:
        records[id] = (1, payload_of_step(step))
    elif is_deletion(step):
        del records[id]
    else:
        records[id] = (records[id][0] + 1, payload_of_step(step))


def id_of(step):
    return f"id-{step % _IDS}"


def is_deletion(step):
    return step % 5 == 4


def payload_of_step(step):
    """Return more than a page of the file now and then."""
    return b"%d" % step * (step % 3000)


def contents(store, path):
    """Return what is stored in the file, which is whole."""
    with closing(store):
        records = {record.id: (record.version, record.payload) for record in store.scan()}
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    return records
