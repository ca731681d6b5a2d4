"""What an operator does to a store: end the sessions of a user, count, move to another store.

Only with stores that can list what they hold; the others raise NotImplementedError.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from .exceptions import RecordExists, StoreError
from .notes import NOTES, remember_end, waiting_note
from .record import is_session
from .stores.base import SessionStore

# How often a user may log in while being logged out everywhere, before that is taken for a store that deletes nothing.
_MOST_ROUNDS = 100


class Statistics(NamedTuple):
    """What a store holds.

    :param sessions: how many are alive.
    :param owned: how many of them belong to a user.
    :param owners: to how many users.
    :param payload_bytes: what their payloads take together.
    :param largest_payload: bytes.
    :param first_end: when the next one ends, Unix milliseconds; None without sessions.
    :param last_end: when the last one ends.
    :param waiting: how many more were imported and wait for their visitors.
    """

    sessions: int
    owned: int
    owners: int
    payload_bytes: int
    largest_payload: int
    first_end: int | None
    last_end: int | None
    waiting: int


def is_made(store: SessionStore) -> bool:
    """Tell whether the directory or file of a store is there, which the first look into the store would make.

    A store that has neither is there.
    """
    places = (getattr(store, name, None) for name in ("directory", "path"))
    return all(os.path.lexists(place) for place in places if isinstance(place, str))


def revoke(store: SessionStore, owner: str, keep: str | None = None) -> int:
    """End all sessions of a user and return how many those were.

    It ends what a login has created by the time that it returns, and no save that is still
    under way brings one back.

    :param keep: the public id of a session that stays: ``session.id`` of the one that asks.
    :raises StoreError: if some may still be there.
    """
    count = 0
    for _ in range(_MOST_ROUNDS):
        ids = [record.id for record in store.find_by_owner(owner) if record.id != keep]
        if not ids:
            return count
        for id in ids:
            remember_end(store, id)
            store.delete(id)
        count += len(ids)
    raise StoreError(f"sessions of this user kept appearing in {store!r} while they were ended")


def statistics(store: SessionStore) -> Statistics:
    """Count the sessions that a store holds; looks at every record."""
    sessions = owned = payload_bytes = largest = waiting = 0
    owners: set[str] = set()
    first = last = None
    for record in filter(is_session, store.scan()):
        if record.id.startswith(NOTES):
            waiting += waiting_note(record) is not None
            continue
        sessions += 1
        if record.owner is not None:
            owned += 1
            owners.add(record.owner)
        payload_bytes += len(record.payload)
        largest = max(largest, len(record.payload))
        first = record.expires if first is None else min(first, record.expires)
        last = record.expires if last is None else max(last, record.expires)
    return Statistics(sessions, owned, len(owners), payload_bytes, largest, first, last, waiting)


def copy(source: SessionStore, target: SessionStore) -> int:
    """Create in a store what another one holds, and return how many records that were.

    Ids that the target has already are left alone, so it can be repeated, as long as nobody uses the target: what was
    logged out there would be copied once more. What changes in the source meanwhile may be missed: stop the
    application, or its visitors keep what they had at the first look.
    """
    count = 0
    for record in filter(is_session, source.scan()):
        try:
            target.create(record)
        except RecordExists:
            continue
        count += 1
    return count
