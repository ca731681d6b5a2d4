"""The part of the store contract about finding an owner's records while others write: none may be missed.

Whoever ends all sessions of a user relies on it.
"""

from __future__ import annotations

from contextlib import suppress
from itertools import count

from msgspec.structs import replace

from .. import clock
from ..exceptions import VersionConflict
from ..stores.base import SessionStore
from .store_concurrency import Run, StoreConcurrency

_OWNED_IDS = [f"owned-{number}" for number in range(5)]
_SECONDS = 0.25


class StoreOwners(StoreConcurrency):
    """What ``find_by_owner`` finds of what is just being written."""

    def test_threads_that_save_hide_nothing_from_find_by_owner(self) -> None:
        self._skip_unless("enumerable", True)
        self._with_threads(self._check_owner_finds_all)

    def test_processes_that_save_hide_nothing_from_find_by_owner(self) -> None:
        self._skip_unless("enumerable", True)
        self._with_processes(self._check_owner_finds_all)

    def _check_owner_finds_all(self, store: SessionStore, run: Run) -> None:
        for id in _OWNED_IDS:
            self._created(store, id, owner="somebody")
        missed = run(lambda store, index: self._look_for_owned(store) if index % 2 else self._write_owned(store, index))
        assert not any(missed), f"find_by_owner missed {next(filter(None, missed))} while they were written"

    def _look_for_owned(self, store: SessionStore) -> list[str]:
        """Return the ids that were missed once."""
        deadline = clock.monotonic() + _SECONDS
        while clock.monotonic() < deadline:
            found = {record.id for record in store.find_by_owner("somebody")}
            missed = [id for id in _OWNED_IDS if id not in found]
            if missed:
                return missed
        return []

    def _write_owned(self, store: SessionStore, index: int) -> list[str]:
        """Save all the time; return what was not found although it had just been created, or given its owner."""
        deadline = clock.monotonic() + _SECONDS
        for number in count():
            record = self._loaded(store, _OWNED_IDS[number % len(_OWNED_IDS)])
            with suppress(VersionConflict):
                store.save(record)
            login = self._created(store, f"login-{index}-{number}", owner="somebody" if number % 2 else None)
            if not number % 2:
                login = store.save(replace(login, owner="somebody"))
            if login.id not in {record.id for record in store.find_by_owner("somebody")}:
                return [login.id]
            store.delete(login.id)
            if clock.monotonic() > deadline:
                break
        return []
