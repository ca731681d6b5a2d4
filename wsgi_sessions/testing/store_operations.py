"""The part of the store contract about single operations: create, load, save, delete and ids."""

from __future__ import annotations

from msgspec.structs import replace

from .. import clock
from ..exceptions import RecordExists, RecordNotFound, VersionConflict
from ..record import Record
from .store_hooks import HOUR, StoreHooks, expected

_PRINTABLE = [chr(code) for code in range(0x20, 0x7F)]
# What a file system, a database, a URL, a shell or a pattern would take for something else.
_AWKWARD_IDS = [
    *("../x", "..", "./a", "a/", "a/b", "/a", "a//b", "a\\b", "~root", "--help", "%2e", "%2E", "%61", "a_b", "a%b"),
    *("''", "';--", "a b", " a", "a ", "  ", "a", "A", "aB", "Ab", "[a]", "{a}", "a:b", "a;b", "$a", "a\nb", "a\tb"),
    *("con", "nul", "00", "1.0", "1e3", "None", "null", "a" * 127, "a" * 128, "A" * 128, "a" * 127 + "b"),
]
_PAYLOADS = [
    *(b"", b"\0", b"\0a\0", b" a ", b"\r\n", b"\n", b"\xff\xfe", b"\xef\xbb\xbf", b"'\"\\", b"%s", b"null", b"{}"),
    *(bytes(range(256)), bytes(range(255, -1, -1)) * 256),
]


class StoreOperations(StoreHooks):
    """One operation after the other, far from any expiry."""

    def test_create_then_load_gives_back_every_field(self) -> None:
        with self._opened() as store:
            record = Record("an-id", b"payload", clock.now() + HOUR, version=7, owner="an owner")
            store.create(record)
            self._assert_stored(store, record)

    def test_a_record_without_owner_comes_back_without_owner(self) -> None:
        with self._opened() as store:
            self._created(store)
            assert self._loaded(store).owner is None

    def test_create_stores_any_payload(self) -> None:
        with self._opened() as store:
            for index, payload in enumerate(_PAYLOADS):
                self._created(store, f"id-{index}", payload)
            for index, payload in enumerate(_PAYLOADS):
                loaded = self._loaded(store, f"id-{index}").payload
                assert type(loaded) is bytes
                assert loaded == payload

    def test_save_stores_any_payload(self) -> None:
        with self._opened() as store:
            record = self._created(store)
            for payload in _PAYLOADS:
                record = store.save(replace(record, payload=payload))
                assert self._loaded(store).payload == payload

    def test_create_refuses_the_id_of_a_live_record(self) -> None:
        with self._opened() as store:
            record = self._created(store)
            with expected(RecordExists):
                self._created(store, payload=b"other", owner="other")
            self._assert_stored(store, record)

    def test_create_after_delete_starts_anew(self) -> None:
        with self._opened() as store:
            self._created(store, owner="first")
            store.delete("id")
            self._assert_stored(store, self._created(store, payload=b"second"))

    def test_load_of_a_missing_record_is_none(self) -> None:
        with self._opened() as store:
            assert store.load("missing") is None
            self._created(store)
            assert store.load("missing") is None

    def test_save_replaces_payload_expiry_and_owner(self) -> None:
        with self._opened() as store:
            record = self._created(store, owner="before")
            saved = store.save(replace(record, payload=b"after", expires=record.expires + 1, owner="after"))
            assert (saved.payload, saved.expires, saved.owner) == (b"after", record.expires + 1, "after")
            self._assert_stored(store, saved)

    def test_save_can_take_the_owner_away(self) -> None:
        with self._opened() as store:
            record = self._created(store, owner="somebody")
            store.save(replace(record, owner=None))
            assert self._loaded(store).owner is None

    def test_save_returns_and_stores_the_next_version(self) -> None:
        with self._opened() as store:
            record = self._created(store)
            for version in (2, 3, 4):
                record = store.save(record)
                assert record.version == version
                assert self._loaded(store).version == version

    def test_save_leaves_the_given_record_alone(self) -> None:
        with self._opened() as store:
            record = self._created(store, owner="somebody")
            before = replace(record)
            saved = store.save(record)
            assert saved is not record
            assert record == before

    def test_save_of_a_missing_record_inserts_nothing(self) -> None:
        with self._opened() as store:
            with expected(RecordNotFound):
                store.save(self._record())
            assert store.load("id") is None
            # Not even out of sight: the id is still free.
            self._created(store)

    def test_save_after_delete_inserts_nothing(self) -> None:
        with self._opened() as store:
            record = self._created(store)
            store.delete("id")
            with expected(RecordNotFound):
                store.save(record)
            assert store.load("id") is None

    def test_save_of_an_old_version_changes_nothing(self) -> None:
        with self._opened() as store:
            first = self._created(store)
            second = store.save(replace(first, payload=b"second"))
            with expected(VersionConflict):
                store.save(replace(first, payload=b"stale", expires=first.expires + HOUR, owner="stale"))
            self._assert_stored(store, second)

    def test_save_of_a_version_not_reached_changes_nothing(self) -> None:
        with self._opened() as store:
            record = self._created(store)
            with expected(VersionConflict):
                store.save(replace(record, version=2, payload=b"early"))
            self._assert_stored(store, record)

    def test_delete_removes_the_record(self) -> None:
        with self._opened() as store:
            self._created(store)
            store.delete("id")
            assert store.load("id") is None

    def test_delete_of_a_missing_record_is_no_error(self) -> None:
        with self._opened() as store:
            store.delete("missing")
            self._created(store)
            store.delete("id")
            store.delete("id")

    def test_delete_spares_the_others(self) -> None:
        with self._opened() as store:
            other = self._created(store, "other")
            self._created(store)
            store.delete("id")
            self._assert_stored(store, other)

    def test_ids_that_differ_in_case_are_different(self) -> None:
        with self._opened() as store:
            record = self._created(store, "AbCdEf")
            for other in ("abcdef", "ABCDEF", "aBcDeF"):
                assert store.load(other) is None
                with expected(RecordNotFound):
                    store.save(replace(record, id=other))
                store.delete(other)
            self._assert_stored(store, record)

    def test_ids_of_one_printable_character_stay_apart(self) -> None:
        self._check_ids_stay_apart(_PRINTABLE)

    def test_awkward_ids_stay_apart(self) -> None:
        self._check_ids_stay_apart(_AWKWARD_IDS)

    def test_a_store_works_again_after_close(self) -> None:
        with self._opened() as store:
            store.close()
            record = self._created(store)
            store.close()
            store.close()
            self._assert_stored(store, record)
            self._assert_stored(store, store.save(record))

    def test_shared_stores_see_each_others_records(self) -> None:
        self._skip_unless("shared", True)
        with self._opened() as one, self._opened() as other:
            record = self._created(one)
            self._assert_stored(other, record)
            saved = other.save(replace(record, payload=b"saved by the other"))
            self._assert_stored(one, saved)
            with expected(VersionConflict):
                one.save(record)
            one.delete("id")
            assert other.load("id") is None
            with expected(RecordNotFound):
                other.save(saved)

    def test_errors_and_repr_tell_no_stored_value(self) -> None:
        with self._opened() as store:
            record = self._created(store, payload=b"stored-value")
            store.save(record)
            with expected(RecordExists) as exists:
                store.create(record)
            with expected(VersionConflict) as conflict:
                store.save(record)
            with expected(RecordNotFound) as missing:
                store.save(replace(record, id="missing"))
            for text in (repr(store), *exists, *conflict, *missing):
                assert "stored-value" not in text

    def _check_ids_stay_apart(self, ids: list[str]) -> None:
        with self._opened() as store:
            for id in ids:
                self._created(store, id, b"created as " + id.encode())
            for id in ids:
                record = self._loaded(store, id)
                assert (record.id, record.payload) == (id, b"created as " + id.encode())
                store.save(replace(record, payload=b"saved as " + id.encode()))
            for id in ids:
                assert self._loaded(store, id).payload == b"saved as " + id.encode()
            for id in ids[::2]:
                store.delete(id)
            assert [id for id in ids if store.load(id) is not None] == ids[1::2]
