"""Stores that each break one promise of the contract, for the suite to find out."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from heapq import heappush
from typing import TypeVar

from msgspec.structs import replace

from wsgi_sessions import clock
from wsgi_sessions.exceptions import RecordExists, RecordNotFound, StoreError, VersionConflict
from wsgi_sessions.record import Record
from wsgi_sessions.stores.base import SessionStore
from wsgi_sessions.stores.memory import MemoryStore

_Store = TypeVar("_Store", bound=type[SessionStore])
#: Each broken store with the names of checks that find it.
FOUND_BY: dict[type[SessionStore], frozenset[str]] = {}


def found_by(*checks: str) -> Callable[[_Store], _Store]:
    """Register a broken store."""

    def register(store: _Store) -> _Store:
        FOUND_BY[store] = frozenset(checks)
        return store

    return register


@found_by("test_create_refuses_the_id_of_a_live_record", "test_create_refuses_the_id_of_an_expired_record")
class CreateOverwrites(MemoryStore):
    def create(self, record: Record) -> None:
        self.delete(record.id)
        super().create(record)


@found_by("test_create_refuses_the_id_of_an_expired_record")
class CreateOverwritesExpired(MemoryStore):
    def create(self, record: Record) -> None:
        if self.load(record.id) is None:
            self.delete(record.id)
        super().create(record)


@found_by("test_create_then_load_gives_back_every_field")
class CreateStartsAtVersionOne(MemoryStore):
    def create(self, record: Record) -> None:
        super().create(replace(record, version=1))


@found_by(
    "test_any_owner_comes_back_as_it_was",
    "test_create_then_load_gives_back_every_field",
    "test_find_by_owner_tells_any_two_owners_apart",
)
class OwnerIsLostByCreate(MemoryStore):
    def create(self, record: Record) -> None:
        super().create(replace(record, owner=None))


@found_by(
    "test_save_replaces_payload_expiry_and_owner",
    "test_find_by_owner_follows_a_change_of_owner",
    "test_find_by_owner_finds_what_was_saved_and_touched",
)
class OwnerIsLostBySave(MemoryStore):
    def save(self, record: Record) -> Record:
        return super().save(replace(record, owner=None))


@found_by("test_save_can_take_the_owner_away", "test_find_by_owner_follows_a_change_of_owner")
class OwnerIsNeverTakenAway(MemoryStore):
    def save(self, record: Record) -> Record:
        before = self.load(record.id)
        return super().save(replace(record, owner=record.owner or (before and before.owner)))


@found_by("test_a_record_without_owner_comes_back_without_owner")
class NoOwnerBecomesEmptyText(MemoryStore):
    def load(self, id: str) -> Record | None:
        record = super().load(id)
        return record and replace(record, owner=record.owner or "")


@found_by("test_create_stores_any_payload")
class PayloadIsText(MemoryStore):
    def create(self, record: Record) -> None:
        super().create(replace(record, payload=record.payload.decode("utf-8", "replace").encode()))


@found_by("test_save_stores_any_payload")
class PayloadIsCutAtNull(MemoryStore):
    def save(self, record: Record) -> Record:
        return super().save(replace(record, payload=record.payload.split(b"\0")[0]))


@found_by("test_create_stores_any_payload")
class PayloadIsNoBytes(MemoryStore):
    def load(self, id: str) -> Record | None:
        record = super().load(id)
        return record and replace(record, payload=bytearray(record.payload))  # type: ignore[arg-type]


@found_by("test_create_stores_any_payload")
class PayloadIsLimited(MemoryStore):
    def create(self, record: Record) -> None:
        super().create(replace(record, payload=record.payload[:65535]))


@found_by(
    "test_expires_is_kept_to_the_millisecond",
    "test_a_record_is_live_until_the_millisecond_it_expires",
    "test_create_then_load_gives_back_every_field",
)
class SecondsOnly(MemoryStore):
    def create(self, record: Record) -> None:
        super().create(replace(record, expires=record.expires // 1000 * 1000))


@found_by("test_expires_is_kept_to_the_millisecond", "test_save_replaces_payload_expiry_and_owner")
class SecondsOnlyInSave(MemoryStore):
    def save(self, record: Record) -> Record:
        return super().save(replace(record, expires=record.expires // 1000 * 1000))


@found_by("test_expires_is_kept_to_the_millisecond")
class EndsIn2038(MemoryStore):
    def create(self, record: Record) -> None:
        super().create(replace(record, expires=min(record.expires, 2**31 * 1000)))


@found_by(
    "test_a_record_is_live_until_the_millisecond_it_expires",
    "test_save_with_a_past_expiry_ends_the_record",
    "test_touch_decides_when_the_record_ends",
)
class LoadFindsExpired(MemoryStore):
    def load(self, id: str) -> Record | None:
        return self._records.get(id)


@found_by("test_a_record_is_live_until_the_millisecond_it_expires")
class LoadFindsExpiredForOneMillisecond(MemoryStore):
    def load(self, id: str) -> Record | None:
        record = self._records.get(id)
        return record if record and record.expires >= clock.now() else None


@found_by(
    "test_load_of_a_missing_record_is_none", "test_delete_removes_the_record", "test_touch_after_delete_inserts_nothing"
)
class LoadRaisesForMissing(MemoryStore):
    def load(self, id: str) -> Record | None:
        record = super().load(id)
        if record is None:
            raise RecordNotFound("missing")
        return record


@found_by("test_a_record_is_live_until_the_millisecond_it_expires")
class EndsOneMillisecondEarly(MemoryStore):
    def load(self, id: str) -> Record | None:
        record = super().load(id)
        return record if record and record.expires - 1 > clock.now() else None


@found_by(
    "test_save_of_a_missing_record_inserts_nothing",
    "test_save_after_delete_inserts_nothing",
    "test_save_of_an_expired_record_does_not_revive_it",
)
class SaveInserts(MemoryStore):
    def save(self, record: Record) -> Record:
        try:
            return super().save(record)
        except RecordNotFound:
            self.delete(record.id)
            self.create(replace(record, version=record.version + 1))
            return replace(record, version=record.version + 1)


@found_by("test_save_of_a_missing_record_inserts_nothing")
class SaveInsertsOutOfSight(MemoryStore):
    def save(self, record: Record) -> Record:
        if record.id not in self._records:
            self._records[record.id] = replace(record, expires=0)
        return super().save(record)


@found_by("test_save_of_an_expired_record_does_not_revive_it")
class SaveRevivesExpired(MemoryStore):
    def save(self, record: Record) -> Record:
        stored = self._records.get(record.id)
        if stored and stored.expires <= clock.now():
            self._records[record.id] = replace(stored, expires=clock.now() + 1)
        return super().save(record)


@found_by("test_save_of_an_old_version_changes_nothing", "test_save_of_a_version_not_reached_changes_nothing")
class SaveIgnoresVersions(MemoryStore):
    def save(self, record: Record) -> Record:
        stored = self.load(record.id)
        return super().save(replace(record, version=stored.version if stored else 1))


@found_by("test_save_of_a_version_not_reached_changes_nothing")
class SaveTakesLaterVersions(MemoryStore):
    def save(self, record: Record) -> Record:
        stored = self.load(record.id)
        return super().save(replace(record, version=min(record.version, stored.version if stored else 1)))


@found_by("test_save_of_an_old_version_changes_nothing")
class SaveRefusesAfterTheFact(MemoryStore):
    def save(self, record: Record) -> Record:
        stored = self._records.get(record.id)
        if stored and stored.version != record.version:
            self._records[record.id] = replace(stored, payload=record.payload)
        return super().save(record)


@found_by(
    "test_save_returns_and_stores_the_next_version",
    "test_save_of_an_old_version_changes_nothing",
    "test_touch_of_an_old_version_changes_nothing",
)
class SaveKeepsTheVersion(MemoryStore):
    def save(self, record: Record) -> Record:
        saved = super().save(record)
        self._records[record.id] = record
        return saved


@found_by("test_save_returns_and_stores_the_next_version", "test_save_leaves_the_given_record_alone")
class SaveReturnsWhatItWasGiven(MemoryStore):
    def save(self, record: Record) -> Record:
        super().save(record)
        return record


@found_by(
    "test_save_replaces_payload_expiry_and_owner",
    "test_a_record_saved_in_its_last_millisecond_lives_on",
    "test_delete_expired_spares_what_a_save_renewed",
)
class SaveKeepsTheExpiry(MemoryStore):
    def save(self, record: Record) -> Record:
        stored = self.load(record.id)
        return super().save(replace(record, expires=stored.expires if stored else record.expires))


@found_by("test_delete_of_a_missing_record_is_no_error")
class DeleteRaisesForMissing(MemoryStore):
    def delete(self, id: str) -> None:
        if id not in self._records:
            raise RecordNotFound("missing")
        super().delete(id)


@found_by(
    "test_delete_removes_the_record",
    "test_create_after_delete_starts_anew",
    "test_delete_of_an_expired_record_is_no_error",
    "test_find_by_owner_finds_nothing_that_was_deleted",
)
class DeleteLeavesTheRecord(MemoryStore):
    def delete(self, id: str) -> None:
        pass


@found_by("test_delete_spares_the_others")
class DeleteRemovesEverything(MemoryStore):
    def delete(self, id: str) -> None:
        self._records.clear()


@found_by("test_awkward_ids_stay_apart")
class DeleteTakesAPattern(MemoryStore):
    def delete(self, id: str) -> None:
        for stored in list(self._records):
            if id in stored:
                super().delete(stored)


@found_by("test_touch_of_an_expired_record_does_not_revive_it")
class TouchRevives(MemoryStore):
    def touch(self, id: str, version: int, expires: int) -> bool:
        stored = self._records.get(id)
        if stored and stored.version == version:
            self._records[id] = replace(stored, expires=expires)
            return True
        return super().touch(id, version, expires)


@found_by(
    "test_touch_of_a_missing_record_inserts_nothing",
    "test_touch_after_delete_inserts_nothing",
    "test_touch_of_an_expired_record_does_not_revive_it",
)
class TouchOfMissingIsSilent(MemoryStore):
    def touch(self, id: str, version: int, expires: int) -> bool:
        try:
            return super().touch(id, version, expires)
        except RecordNotFound:
            return False


@found_by("test_touch_of_a_missing_record_inserts_nothing", "test_touch_after_delete_inserts_nothing")
class TouchInserts(MemoryStore):
    def touch(self, id: str, version: int, expires: int) -> bool:
        if id not in self._records:
            self.create(Record(id, b"", expires, version))
        return super().touch(id, version, expires)


@found_by("test_touch_of_an_old_version_changes_nothing")
class TouchIgnoresVersions(MemoryStore):
    def touch(self, id: str, version: int, expires: int) -> bool:
        stored = self.load(id)
        return super().touch(id, stored.version if stored else version, expires)


@found_by("test_touch_of_an_old_version_changes_nothing")
class TouchOfAnOldVersionClaimsSuccess(MemoryStore):
    def touch(self, id: str, version: int, expires: int) -> bool:
        super().touch(id, version, expires)
        return True


@found_by("test_touch_moves_the_expiry_both_ways", "test_touch_of_an_old_version_changes_nothing")
class TouchTellsNothing(MemoryStore):
    def touch(self, id: str, version: int, expires: int) -> bool:
        super().touch(id, version, expires)
        return None  # type: ignore[return-value]


@found_by("test_touch_moves_nothing_but_the_expiry")
class TouchChangesThePayload(MemoryStore):
    def touch(self, id: str, version: int, expires: int) -> bool:
        moved = super().touch(id, version, expires)
        if moved:
            self._records[id] = replace(self._records[id], payload=b"touched")
        return moved


@found_by("test_touch_moves_nothing_but_the_expiry")
class TouchCountsAsSave(MemoryStore):
    def touch(self, id: str, version: int, expires: int) -> bool:
        return SessionStore.touch(self, id, version, expires)


@found_by("test_touch_moves_the_expiry_both_ways", "test_touch_decides_when_the_record_ends")
class TouchOnlyProlongs(MemoryStore):
    def touch(self, id: str, version: int, expires: int) -> bool:
        stored = self.load(id)
        return super().touch(id, version, max(expires, stored.expires if stored else 0))


@found_by("test_touch_moves_the_expiry_both_ways", "test_delete_expired_spares_what_a_touch_renewed")
class TouchDoesNothing(MemoryStore):
    def touch(self, id: str, version: int, expires: int) -> bool:
        stored = self.load(id)
        return super().touch(id, version, stored.expires if stored else expires)


@found_by("test_delete_expired_removes_at_most_its_limit")
class SweepIgnoresItsLimit(MemoryStore):
    def delete_expired(self, limit: int = 500) -> list[Record]:
        return super().delete_expired(500)


@found_by("test_delete_expired_spares_the_live", "test_delete_expired_without_expired_records_removes_nothing")
class SweepRemovesTheLive(MemoryStore):
    def delete_expired(self, limit: int = 500) -> list[Record]:
        with self._lock:
            return self._remove_expired(2**62, limit, 1000)


@found_by("test_delete_expired_spares_the_live", "test_delete_expired_without_expired_records_removes_nothing")
class SweepRemovesOneMillisecondEarly(MemoryStore):
    def delete_expired(self, limit: int = 500) -> list[Record]:
        with self._lock:
            return self._remove_expired(clock.now() + 1, limit, 1000)


@found_by("test_delete_expired_returns_what_it_removed")
class SweepIsOneMillisecondLate(MemoryStore):
    def delete_expired(self, limit: int = 500) -> list[Record]:
        with self._lock:
            return self._remove_expired(clock.now() - 1, limit, 1000)


@found_by(
    "test_delete_expired_returns_what_it_removed",
    "test_delete_expired_returns_each_record_once",
    "test_delete_expired_drains_the_store_if_repeated",
)
class SweepReturnsWhatItDidNotRemove(MemoryStore):
    def delete_expired(self, limit: int = 500) -> list[Record]:
        return [record for record in self._records.values() if record.expires <= clock.now()][:limit]


@found_by("test_delete_expired_returns_what_it_removed", "test_delete_expired_drains_the_store_if_repeated")
class SweepReturnsNothing(MemoryStore):
    def delete_expired(self, limit: int = 500) -> list[Record]:
        super().delete_expired(limit)
        return []


@found_by("test_delete_expired_returns_what_it_removed", "test_delete_expired_drains_the_store_if_repeated")
class SweepDoesNothing(MemoryStore):
    def delete_expired(self, limit: int = 500) -> list[Record]:
        return []


@found_by("test_delete_expired_returns_what_it_removed")
class SweepLeavesThePayloadOut(MemoryStore):
    def delete_expired(self, limit: int = 500) -> list[Record]:
        return [replace(record, payload=b"") for record in super().delete_expired(limit)]


@found_by(
    "test_delete_expired_finds_what_was_shortened",
    "test_delete_expired_spares_what_a_save_renewed",
    "test_delete_expired_spares_what_a_touch_renewed",
)
class SweepRemembersTheFirstExpiry(MemoryStore):
    """Its index of expiry follows neither save nor touch."""

    def __init__(self) -> None:
        super().__init__()
        self._first: dict[str, int] = {}

    def create(self, record: Record) -> None:
        super().create(record)
        self._first[record.id] = record.expires

    def delete_expired(self, limit: int = 500) -> list[Record]:
        ended = [id for id, expires in self._first.items() if expires <= clock.now() and id in self._records][:limit]
        return [self._records.pop(id) for id in ended]


@found_by(
    "test_ids_that_differ_in_case_are_different",
    "test_awkward_ids_stay_apart",
    "test_ids_of_one_printable_character_stay_apart",
)
class IdsIgnoreCase(MemoryStore):
    def create(self, record: Record) -> None:
        super().create(replace(record, id=record.id.lower()))

    def load(self, id: str) -> Record | None:
        record = super().load(id.lower())
        return record and replace(record, id=id)

    def save(self, record: Record) -> Record:
        return replace(super().save(replace(record, id=record.id.lower())), id=record.id)

    def touch(self, id: str, version: int, expires: int) -> bool:
        return super().touch(id.lower(), version, expires)

    def delete(self, id: str) -> None:
        super().delete(id.lower())


class _IdsAreChanged(MemoryStore):
    """Keeps records under a key that is made from the id."""

    def key(self, id: str) -> str:
        raise NotImplementedError

    def create(self, record: Record) -> None:
        key = self.key(record.id)
        if key in self._records:
            raise RecordExists("exists")
        self._records[key] = record

    def load(self, id: str) -> Record | None:
        record = self._records.get(self.key(id))
        return record if record and record.expires > clock.now() else None

    def save(self, record: Record) -> Record:
        stored = self.load(record.id)
        if stored is None:
            raise RecordNotFound("missing")
        if stored.version != record.version:
            raise VersionConflict("conflict")
        saved = replace(record, version=record.version + 1)
        self._records[self.key(record.id)] = saved
        return saved

    def touch(self, id: str, version: int, expires: int) -> bool:
        raise NotImplementedError

    def delete(self, id: str) -> None:
        self._records.pop(self.key(id), None)


@found_by("test_awkward_ids_stay_apart")
class IdsLoseTrailingSpaces(_IdsAreChanged):
    def key(self, id: str) -> str:
        return id.rstrip(" ")


@found_by("test_awkward_ids_stay_apart")
class IdsAreCut(_IdsAreChanged):
    def key(self, id: str) -> str:
        return id[:127]


@found_by("test_scan_yields_no_expired_record")
class ScanFindsExpired(MemoryStore):
    def scan(self) -> Iterator[Record]:
        yield from list(self._records.values())


@found_by("test_scan_outlives_changes_made_meanwhile")
class ScanBreaksOnChanges(MemoryStore):
    def scan(self) -> Iterator[Record]:
        for record in self._records.values():
            if record.expires > clock.now():
                yield record


@found_by("test_scan_yields_each_record_once_and_whole")
class ScanFindsTwice(MemoryStore):
    def scan(self) -> Iterator[Record]:
        for record in list(super().scan()):
            yield from (record, record)

    def find_by_owner(self, owner: str) -> list[Record]:
        return [record for record in MemoryStore.scan(self) if record.owner == owner]


@found_by("test_find_by_owner_tells_any_two_owners_apart")
class FindByOwnerIgnoresCase(MemoryStore):
    def find_by_owner(self, owner: str) -> list[Record]:
        return [record for record in self.scan() if record.owner and record.owner.lower() == owner.lower()]


@found_by("test_find_by_owner_follows_a_change_of_owner", "test_find_by_owner_finds_nothing_that_was_deleted")
class FindByOwnerRemembersTheFirst(MemoryStore):
    """Its index of owners is written by create alone."""

    def __init__(self) -> None:
        super().__init__()
        self._owners: dict[str, str | None] = {}

    def create(self, record: Record) -> None:
        super().create(record)
        self._owners.setdefault(record.id, record.owner)

    def find_by_owner(self, owner: str) -> list[Record]:
        return [record for record in self.scan() if self._owners.get(record.id) == owner]


@found_by("test_find_by_owner_finds_the_live_records_of_that_owner")
class FindByOwnerFindsExpired(MemoryStore):
    def find_by_owner(self, owner: str) -> list[Record]:
        return [record for record in self._records.values() if record.owner == owner]


@found_by("test_threads_that_save_hide_nothing_from_find_by_owner")
class SaveHidesTheRecord(MemoryStore):
    """Takes a record out of its index of owners while it writes it."""

    def __init__(self) -> None:
        super().__init__()
        self._hidden: set[str] = set()

    def save(self, record: Record) -> Record:
        self._hidden.add(record.id)
        try:
            time.sleep(0.001)
            return super().save(record)
        finally:
            self._hidden.discard(record.id)

    def find_by_owner(self, owner: str) -> list[Record]:
        return [record for record in super().find_by_owner(owner) if record.id not in self._hidden]


@found_by("test_a_store_works_again_after_close")
class CloseIsTheEnd(MemoryStore):
    def close(self) -> None:
        self._records = {}


@found_by("test_scan_of_an_empty_store_yields_nothing")
class CannotListButSaysItCan(MemoryStore):
    scan = SessionStore.scan
    find_by_owner = SessionStore.find_by_owner


@found_by("test_a_store_that_cannot_list_says_so")
class CanListButSaysItCannot(MemoryStore):
    enumerable = False


@found_by("test_errors_and_repr_tell_no_stored_value")
class ReprTellsPayloads(MemoryStore):
    def __repr__(self) -> str:
        return f"{[record.payload for record in self._records.values()]}"


@found_by("test_errors_and_repr_tell_no_stored_value")
class ErrorsTellPayloads(MemoryStore):
    def save(self, record: Record) -> Record:
        try:
            return super().save(record)
        except VersionConflict as error:
            raise VersionConflict(f"{record.payload!r} is stale") from error


@found_by("test_shared_stores_see_each_others_records")
class SharesNothingButSaysItDoes(MemoryStore):
    shared = True


# What follows is correct as long as nobody else is there.


@found_by("test_of_threads_that_create_one_id_one_wins")
class CreateLooksFirst(MemoryStore):
    def create(self, record: Record) -> None:
        if record.id in self._records:
            raise RecordExists("exists")
        time.sleep(0.001)
        heappush(self._heap, (record.expires, record.id))
        self._records[record.id] = record


@found_by("test_threads_that_retry_lose_no_update", "test_delete_is_final_among_threads_that_write")
class SaveLooksFirst(MemoryStore):
    def save(self, record: Record) -> Record:
        stored = self._live(record.id, clock.now())
        if stored.version != record.version:
            raise VersionConflict("conflict")
        time.sleep(0.001)
        saved = replace(record, version=record.version + 1)
        self._records[record.id] = saved
        return saved


@found_by("test_delete_is_final_among_threads_that_write")
class TouchLooksFirst(MemoryStore):
    def touch(self, id: str, version: int, expires: int) -> bool:
        stored = self._live(id, clock.now())
        if stored.version != version:
            return False
        time.sleep(0.001)
        self._records[id] = replace(stored, expires=expires)
        return True


@found_by("test_threads_that_sweep_spare_what_others_renew")
class SweepLooksFirst(MemoryStore):
    """A sweep does not know of the renewal that is under way."""

    def touch(self, id: str, version: int, expires: int) -> bool:
        self._live(id, clock.now())
        time.sleep(0.001)
        stored = self._records.get(id)
        if stored:
            self._records[id] = replace(stored, expires=expires)
        return True


@found_by("test_a_fork_amid_writing_threads_leaves_the_child_a_usable_store")
class LockIsNotRenewed(MemoryStore):
    """Holds a lock most of the time, and leaves it locked in a forked child."""

    def __init__(self) -> None:
        super().__init__()
        self._own_lock = threading.Lock()

    def save(self, record: Record) -> Record:
        with self._own_lock:
            time.sleep(0.001)
            return super().save(record)


@found_by("test_a_store_used_before_a_fork_works_on_both_sides")
class BelongsToOneProcess(MemoryStore):
    """As what holds a connection does that must not cross a fork."""

    def __init__(self) -> None:
        super().__init__()
        self._process = os.getpid()

    def save(self, record: Record) -> Record:
        if os.getpid() != self._process:
            raise StoreError("the connection belongs to another process")
        return super().save(record)
