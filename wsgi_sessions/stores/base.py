"""The contract of every store, and what keeps stores usable after a fork.

Write a store by subclassing :class:`SessionStore`; run
``wsgi_sessions.testing.StoreContract`` over it to see that it keeps the contract.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar, Protocol
from weakref import WeakSet

import msgspec

from ..exceptions import RecordNotFound, VersionConflict
from ..record import Record


class SessionStore(ABC):
    """Where sessions are kept.

    All methods may be called by many threads at once. A driver's error leaves
    as :class:`~wsgi_sessions.exceptions.StoreError`, ``raise ... from error``;
    a write that may not have happened is never reported as done. No
    connection, lock or thread is made before the first use, and all of them
    survive ``fork`` (gunicorn's ``--preload``).
    """

    #: ``save`` compares the version and swaps in one step.
    atomic: ClassVar[bool] = True
    #: Other processes see the same records.
    shared: ClassVar[bool] = False
    #: ``scan`` and ``find_by_owner`` work.
    enumerable: ClassVar[bool] = True
    #: The backend drops expired records by itself; ``delete_expired`` has nothing to return.
    expires_itself: ClassVar[bool] = False

    @abstractmethod
    def create(self, record: Record) -> None:
        """Insert a new record, atomically.

        :raises RecordExists: if a live or a dead record has the id.
        :raises StoreError: if the backend failed.
        """

    @abstractmethod
    def load(self, id: str) -> Record | None:
        """Return the record, or None when there is none or it has expired.

        :raises StoreError: if the backend failed.
        """

    @abstractmethod
    def save(self, record: Record) -> Record:
        """Replace the live record whose stored version is ``record.version``. Never inserts.

        :returns: the record as it is stored now, ``version`` one higher.
        :raises RecordNotFound: if it is gone or has expired: logged out elsewhere.
        :raises VersionConflict: if another save came first.
        :raises StoreError: if the backend failed.
        """

    @abstractmethod
    def delete(self, id: str) -> None:
        """Remove the record, so that no save brings it back. A missing one is not an error.

        :raises StoreError: if the backend failed.
        """

    def touch(self, id: str, version: int, expires: int) -> bool:
        """Move only the expiry of a record, if its version is still ``version``.

        :param expires: Unix milliseconds.
        :returns: whether it was moved; False if the version had moved on. A cookie
            may be renewed only if it was: the secret may have changed as well.
        :raises RecordNotFound: if it is gone or has expired; a touch never revives.
        :raises StoreError: if the backend failed.
        """
        record = self.load(id)
        if record is None:
            raise RecordNotFound(f"no live record {id!r}")
        if record.version != version:
            return False
        try:
            self.save(msgspec.structs.replace(record, expires=expires))
        except VersionConflict:
            return False
        return True

    def delete_expired(self, limit: int = 500) -> list[Record]:
        """Remove at most ``limit`` expired records and return those that it removed."""
        return []

    def scan(self) -> Iterator[Record]:
        """Yield the live records in any order."""
        raise NotImplementedError(f"{type(self).__name__} cannot list its records")

    def find_by_owner(self, owner: str) -> list[Record]:
        """Return the live records of one user."""
        raise NotImplementedError(f"{type(self).__name__} cannot search by owner")

    def close(self) -> None:
        """Give back what the store holds open; it may be used again afterwards."""


class SurvivesFork(Protocol):
    """Something that holds locks or threads, which a forked child must not inherit."""

    def _after_fork(self) -> None:
        """Renew them; called in the child, before anything else runs there."""


_survivors: WeakSet[SurvivesFork] = WeakSet()


def renew_after_fork(survivor: SurvivesFork) -> None:
    """Have ``survivor._after_fork()`` called in every forked child as long as it lives."""
    _survivors.add(survivor)


def _renew_all() -> None:
    for survivor in list(_survivors):
        survivor._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)
