"""What every check of the store contract is made of: the hook, and how to fail or skip."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import ClassVar
from unittest import SkipTest

from .. import clock
from ..record import Record
from ..stores.base import SessionStore

#: Milliseconds.
HOUR = 60 * 60 * 1000


class StoreHooks:
    """What a subclass provides, and what the checks share."""

    #: Seconds that the threads or processes of one check may take before it fails.
    timeout: ClassVar[float] = 30.0

    def make_store(self) -> SessionStore:
        """Return a store that holds nothing when a test calls this first.

        Of a ``shared`` store each further call within one test returns another
        store over the same data; forked children call it as well.
        """
        raise NotImplementedError(f"{type(self).__name__} needs a make_store(self) that returns a store")

    @contextmanager
    def _opened(self) -> Iterator[SessionStore]:
        with closing(self.make_store()) as store:
            yield store

    def _record(self, id: str = "id", payload: bytes = b"payload", *, owner: str | None = None) -> Record:
        return Record(id, payload, clock.now() + HOUR, owner=owner)

    def _created(
        self, store: SessionStore, id: str = "id", payload: bytes = b"payload", *, owner: str | None = None
    ) -> Record:
        record = self._record(id, payload, owner=owner)
        store.create(record)
        return record

    def _loaded(self, store: SessionStore, id: str = "id") -> Record:
        record = store.load(id)
        assert record is not None, f"there is no live record {id!r}"
        return record

    def _assert_stored(self, store: SessionStore, record: Record) -> None:
        stored = self._loaded(store, record.id)
        assert stored.payload == record.payload, f"another payload is stored than {record!r} has"
        assert stored == record, f"{stored!r} is stored, not {record!r}"

    def _skip_unless(self, attribute: str, value: bool) -> None:
        """Leave a check out, in sight, that the store says it does not promise."""
        with self._opened() as store:
            if getattr(store, attribute) is not value:
                raise SkipTest(f"{type(store).__name__}.{attribute} is {not value}")


@contextmanager
def expected(error: type[BaseException]) -> Iterator[list[str]]:
    """Fail unless the block raises this very error; the list then holds its text."""
    told: list[str] = []
    try:
        yield told
    except error as raised:
        told += [str(raised), repr(raised)]
        return
    raise AssertionError(f"no {error.__name__} was raised")
