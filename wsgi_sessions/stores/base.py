"""The contract of every store, and what keeps stores usable after a fork.

Write a store by subclassing :class:`SessionStore`; run
``wsgi_sessions.testing.StoreContract`` over it to see that it keeps the contract.
"""

from __future__ import annotations

import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import suppress
from typing import Protocol
from weakref import WeakSet

import msgspec

from ..exceptions import RecordExists, RecordNotFound, VersionConflict
from ..record import Record

_log = logging.getLogger("wsgi_sessions")


class SessionStore(ABC):
    """Where sessions are kept.

    All methods may be called by many threads at once. A driver's error leaves
    as :class:`~wsgi_sessions.exceptions.StoreError`, ``raise ... from error``;
    a write that may not have happened is never reported as done. No
    connection, lock or thread is made before the first use, and all of them
    survive ``fork`` (gunicorn's ``--preload``).
    """

    # A store that is made of others sets these for itself.

    #: ``save`` compares the version and swaps in one step.
    atomic: bool = True
    #: Other processes see the same records.
    shared: bool = False
    #: ``scan`` and ``find_by_owner`` work.
    enumerable: bool = True
    #: The backend drops expired records by itself; ``delete_expired`` has nothing to return.
    expires_itself: bool = False

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
            raise not_live(id)
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


def taken(id: str) -> RecordExists:
    """Return the error of a creation whose id is not free."""
    return RecordExists(f"there is a record {id!r} already")


def not_live(id: str) -> RecordNotFound:
    """Return the error of a record that is gone or has expired."""
    return RecordNotFound(f"no live record {id!r}")


def overtaken(record: Record, stored_version: int) -> VersionConflict:
    """Return the error of a save that another one came before."""
    return VersionConflict(f"record {record.id!r} is at version {stored_version}, not {record.version}")


class SurvivesFork(Protocol):
    """Something that holds locks or threads, which a forked child must not inherit."""

    def _after_fork(self) -> None:
        """Renew them; called in the child, before anything else runs there."""


class ClosesBeforeFork(SurvivesFork, Protocol):
    """Something that holds connections, which a forked child must not share with its parent."""

    def _close_idle(self) -> None:
        """Close those that are not in use at the moment."""


class PausesForFork(Protocol):
    """Something that must not be in use, or not even open, while its process forks."""

    def _before_fork(self) -> None:
        """Let nobody use it until one of the calls below; called in the thread that forks."""

    def _after_fork_in_parent(self) -> None:
        """Let it be used again."""

    def _after_fork_in_child(self) -> None:
        """Let it be used again, in the child."""


_survivors: WeakSet[SurvivesFork] = WeakSet()
_closing: WeakSet[ClosesBeforeFork] = WeakSet()
_paused: WeakSet[PausesForFork] = WeakSet()


def renew_after_fork(survivor: SurvivesFork) -> None:
    """Have ``survivor._after_fork()`` called in every forked child as long as it lives."""
    _survivors.add(survivor)


def close_before_fork(closes: ClosesBeforeFork) -> None:
    """Call ``closes._close_idle()`` before each fork and ``closes._after_fork()`` in the child, as long as it lives.

    What is in use at that moment stays open, on both sides; the child must leave it alone.
    """
    _closing.add(closes)
    renew_after_fork(closes)


def pause_for_fork(pauses: PausesForFork) -> None:
    """Have its methods called around every fork as long as it lives.

    Where a server forks without Python's knowledge, only the child's call comes.
    """
    _paused.add(pauses)


def _pause_all() -> None:
    for paused in list(_paused):
        paused._before_fork()
    for closes in list(_closing):
        # A fork does not fail because a server does.
        with suppress(Exception):
            closes._close_idle()


def _resume_all() -> None:
    for paused in list(_paused):
        paused._after_fork_in_parent()


def _renew_all() -> None:
    renewals = [survivor._after_fork for survivor in list(_survivors)]
    for renew in [*renewals, *(paused._after_fork_in_child for paused in list(_paused))]:
        try:
            renew()
        except Exception:
            # The others must be renewed all the same.
            _log.exception("a store could not be made usable in a forked process")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_pause_all, after_in_parent=_resume_all, after_in_child=_renew_all)
