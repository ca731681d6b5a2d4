"""The part of the store contract about threads, processes and forks that compete.

On the real clock. What a check looks for is a race, so a broken store may pass
it now and then; a store that keeps the contract never fails.
"""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain, count
from typing import Any

from msgspec.structs import replace

from .. import clock
from ..exceptions import RecordExists, RecordNotFound, VersionConflict
from ..record import Record
from ..stores.base import SessionStore
from .parallel import in_processes, in_threads, skip_without_fork
from .store_hooks import HOUR
from .store_listing import StoreListing

_THREADS = 8
_PROCESSES = 4
_HAMMERS = 4
_CREATED_IDS = [f"id-{number:03}" for number in range(100)]
_DELETED_IDS = [f"id-{number}" for number in range(8)]
# Of each thread and process; a store that loses one in a hundred is caught.
_INCREMENTS = 25
# After so many a saver gives up on being told that its record was deleted.
_ATTEMPTS = 1000
_SECONDS_OF_SWEEPING = 0.25

_Action = Callable[[SessionStore, int], Any]
Run = Callable[[_Action], list[Any]]
_Check = Callable[[SessionStore, Run], None]


class StoreConcurrency(StoreListing):
    """The same checks for the threads of one store and for processes with a store each."""

    def test_of_threads_that_create_one_id_one_wins(self) -> None:
        self._with_threads(self._check_one_creator_wins)

    def test_of_processes_that_create_one_id_one_wins(self) -> None:
        self._with_processes(self._check_one_creator_wins)

    def test_threads_that_retry_lose_no_update(self) -> None:
        self._with_threads(self._check_no_update_is_lost)

    def test_processes_that_retry_lose_no_update(self) -> None:
        self._with_processes(self._check_no_update_is_lost)

    def test_delete_is_final_among_threads_that_write(self) -> None:
        self._with_threads(self._check_delete_is_final)

    def test_delete_is_final_among_processes_that_write(self) -> None:
        self._with_processes(self._check_delete_is_final)

    def test_threads_that_sweep_spare_what_others_renew(self) -> None:
        self._skip_unless("expires_itself", False)
        self._with_threads(self._check_renewed_are_spared)

    def test_processes_that_sweep_spare_what_others_renew(self) -> None:
        self._skip_unless("expires_itself", False)
        self._with_processes(self._check_renewed_are_spared)

    def test_a_store_used_before_a_fork_works_on_both_sides(self) -> None:
        with self._opened() as store:
            record = self._created(store)

            def in_child(_index: int, start: Callable[[], object]) -> int:
                start()
                self._assert_stored(store, record)
                saved = store.save(replace(record, payload=b"saved by the child"))
                self._created(store, "created by the child")
                # What the parent holds open is not the child's to close.
                store.close()
                self._assert_stored(store, saved)
                return saved.version

            assert in_processes(in_child, 1, self.timeout) == [2]
            assert self._loaded(store).version == (2 if store.shared else 1)
            assert (store.load("created by the child") is not None) is store.shared
            self._created(store, "created after the fork")

    def test_a_fork_amid_writing_threads_leaves_the_child_a_usable_store(self) -> None:
        skip_without_fork()
        with self._opened() as store, self._hammered(store):

            def in_child(index: int, start: Callable[[], object]) -> None:
                start()
                self._live_through(store, f"of child {index}")

            in_processes(in_child, 2 * _PROCESSES, self.timeout)

    def _with_threads(self, check: _Check) -> None:
        self._skip_unless("atomic", True)
        with self._opened() as store:

            def run(action: _Action) -> list[Any]:
                def work(index: int, start: Callable[[], object]) -> Any:
                    start()
                    return action(store, index)

                return in_threads(work, _THREADS, self.timeout)

            check(store, run)

    def _with_processes(self, check: _Check) -> None:
        self._skip_unless("shared", True)
        self._skip_unless("atomic", True)

        def run(action: _Action) -> list[Any]:
            def work(index: int, start: Callable[[], object]) -> Any:
                with self._opened() as own:
                    # Connected before the start, or the first process is done when the last one begins.
                    own.load("missing")
                    start()
                    return action(own, index)

            return in_processes(work, _PROCESSES, self.timeout)

        with self._opened() as store:
            check(store, run)

    def _check_one_creator_wins(self, store: SessionStore, run: Run) -> None:
        def create_all(store: SessionStore, index: int) -> list[str]:
            return [id for id in _CREATED_IDS if self._creates(store, id, str(index).encode())]

        created = run(create_all)
        assert sorted(chain(*created)) == _CREATED_IDS
        for index, ids in enumerate(created):
            for id in ids:
                assert self._loaded(store, id).payload == str(index).encode()

    def _check_no_update_is_lost(self, store: SessionStore, run: Run) -> None:
        self._created(store, payload=b"0")
        versions = sorted(chain(*run(self._increment)))
        assert self._loaded(store).payload == str(len(versions)).encode()
        assert versions == list(range(2, len(versions) + 2))

    def _check_delete_is_final(self, store: SessionStore, run: Run) -> None:
        for id in _DELETED_IDS:
            self._created(store, id)
        seen_after_delete = run(self._delete_or_write)
        assert not any(seen_after_delete), "load found a record after its delete had returned"
        revived = [id for id in _DELETED_IDS if store.load(id) is not None]
        assert not revived, f"{revived} came back after their delete"

    def _check_renewed_are_spared(self, store: SessionStore, run: Run) -> None:
        results = run(lambda store, index: self._sweep(store) if index % 2 else self._renew(store, index))
        swept, renewed = set(chain(*results[1::2])), set(chain(*results[0::2]))
        assert not swept & renewed, "a sweep removed what had just been renewed"
        gone = [id for id in renewed if store.load(id) is None]
        assert not gone, f"{gone} are gone although they were renewed in time"

    def _creates(self, store: SessionStore, id: str, payload: bytes) -> bool:
        try:
            self._created(store, id, payload)
        except RecordExists:
            return False
        return True

    def _increment(self, store: SessionStore, _index: int) -> list[int]:
        """Return the versions of what was saved."""
        versions: list[int] = []
        while len(versions) < _INCREMENTS:
            record = self._loaded(store)
            try:
                saved = store.save(replace(record, payload=str(int(record.payload) + 1).encode()))
            except VersionConflict:
                continue
            versions.append(saved.version)
        return versions

    def _delete_or_write(self, store: SessionStore, index: int) -> list[str]:
        """Return the ids that were seen after their delete had returned."""
        seen: list[str] = []
        for id in _DELETED_IDS:
            if index:
                self._write_until_deleted(store, id, index)
                continue
            # Not before the others are at it.
            deadline = clock.monotonic() + self.timeout
            while self._loaded(store, id).version < 3 and clock.monotonic() < deadline:
                clock.sleep(0)
            store.delete(id)
            if store.load(id) is not None:
                seen.append(id)
        return seen

    def _write_until_deleted(self, store: SessionStore, id: str, index: int) -> None:
        for _attempt in range(_ATTEMPTS):
            record = store.load(id)
            if record is None:
                return
            try:
                if index % 2:
                    store.touch(id, record.version, record.expires + 2)
                else:
                    store.save(record)
            except VersionConflict:
                continue
            except RecordNotFound:
                return

    def _renew(self, store: SessionStore, index: int) -> list[str]:
        """Return the ids of those that were renewed in their last moment."""
        renewed: list[str] = []
        deadline = clock.monotonic() + _SECONDS_OF_SWEEPING
        # Milliseconds before the end: as late as this store is fast enough for.
        lead = 1
        for number in count():
            record = Record(f"id-{index}-{number}", b"payload", clock.now() + lead + 2)
            store.create(record)
            while clock.now() < record.expires - lead:
                clock.sleep(0)
            in_time = self._renews(store, record, number)
            if in_time:
                renewed.append(record.id)
            lead = max(1, lead - 1) if in_time else lead + 1
            if clock.monotonic() > deadline:
                break
        return renewed

    def _renews(self, store: SessionStore, record: Record, number: int) -> bool:
        expires = record.expires + HOUR
        try:
            if number % 2:
                return store.touch(record.id, record.version, expires)
            store.save(replace(record, expires=expires))
        except RecordNotFound:
            return False
        return True

    def _sweep(self, store: SessionStore) -> list[str]:
        """Return the ids of those that were removed."""
        swept: list[str] = []
        deadline = clock.monotonic() + 1.1 * _SECONDS_OF_SWEEPING
        while clock.monotonic() < deadline:
            swept += [record.id for record in store.delete_expired(10)]
        return swept

    @contextmanager
    def _hammered(self, store: SessionStore) -> Iterator[None]:
        """Have threads use the store for as long as the block lasts."""
        stop, begun = threading.Event(), threading.Barrier(_HAMMERS + 1)
        errors: list[str] = []

        def hammer(index: int) -> None:
            # Coverage and debuggers take locks of their own, which no store can renew in a child.
            sys.settrace(None)
            try:  # pragma: no cover
                self._live_through(store, f"of thread {index}")
                begun.wait(self.timeout)
                while not stop.is_set():
                    self._live_through(store, f"of thread {index}")
            except Exception:  # pragma: no cover
                errors.append(traceback.format_exc())
                begun.abort()

        threads = [threading.Thread(target=hammer, args=(index,), daemon=True) for index in range(_HAMMERS)]
        for thread in threads:
            thread.start()
        try:
            with suppress(threading.BrokenBarrierError):
                begun.wait(self.timeout)
            yield
        finally:
            stop.set()
            for thread in threads:
                thread.join(self.timeout)
        assert not errors, errors[0]

    def _live_through(self, store: SessionStore, id: str) -> None:
        record = store.save(self._created(store, id, owner="somebody"))
        store.touch(id, record.version, record.expires + 1)
        self._loaded(store, id)
        store.delete_expired(1)
        store.delete(id)
