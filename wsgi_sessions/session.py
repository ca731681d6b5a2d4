"""The session: what one visitor's requests have in common."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Self

from . import clock
from .exceptions import SerializationError, StoreError
from .expiry import Expiry, to_datetime
from .mapping import OPEN, SessionMapping
from .saving import persist
from .settings import check_expiry

# An index over owners in MySQL takes no longer text.
_LONGEST_OWNER = 255


class Session(SessionMapping):
    """What one visitor's requests have in common: a dictionary that is there again next time.

    Nothing is read before the first use and nothing written before the response
    leaves, and then only if something changed; a change inside a list or a
    dictionary counts. Threads of one request may share it.

    Every method that looks into the session can raise StoreError; every one that
    changes it SessionFrozen after the response, SessionDeleted after ``delete()``
    and HeadersSent where the change needs a cookie and the head is out.

    :param settings: what the middleware's sessions have in common.
    :param cookie_header: the request's Cookie header.
    """

    @classmethod
    def view(cls, session: Session) -> Self:
        """Return the same session as an object of this class: what a framework's own names are added to.

        The two share all that they know, so whatever is done with one is done with the other.
        """
        view = cls.__new__(cls)
        view.__dict__ = session.__dict__
        return view

    @property
    def id(self) -> str | None:
        """The public id, safe in logs and URLs; None until the session is first saved."""
        record = self._load().record
        return None if record is None else record.id

    @property
    def is_new(self) -> bool:
        """Whether the visitor presented no live session."""
        return self._load().is_new

    @property
    def is_empty(self) -> bool:
        """Whether it holds no keys."""
        return len(self) == 0

    @property
    def created(self) -> datetime:
        """When it began, an aware UTC datetime; ``cycle_id`` does not change it."""
        return to_datetime(self._load().created)

    @property
    def owner(self) -> str | None:
        """The user it belongs to, by which a user's sessions are listed and ended.

        Setting another owner gives the session a new token, as :meth:`cycle_id` does.

        :raises TypeError: if it is set to anything but a str or None.
        :raises ValueError: if that is not 1 to 255 characters of text.
        """
        return self._load().owner

    @owner.setter
    def owner(self, owner: str | None) -> None:
        _check_owner(owner)
        state = self._load()
        with state.lock:
            self._begin_writing(state)
            if owner != state.owner:
                self._refuse_late("a new owner")
                state.owner = owner

    @property
    def expiry(self) -> Expiry:
        """The policy that holds for it: its own, or the middleware's.

        A policy set here is stored with the session; None gives it the middleware's again.

        :raises TypeError: if it is set to anything but a policy or None.
        """
        return self._load().policy

    @expiry.setter
    def expiry(self, expiry: Expiry | None) -> None:
        if expiry is not None:
            check_expiry(expiry)
        state = self._load()
        with state.lock:
            self._begin_writing(state)
            if _is_same(expiry, state.own_expiry):
                return
            if state.policy.persistent or (expiry or self._settings.expiry).persistent:
                self._refuse_late("a new expiry")
            # The same object stands for no change.
            state.own_expiry = state.stored_expiry if _is_same(expiry, state.stored_expiry) else expiry

    @property
    def expiry_date(self) -> datetime:
        """When it ends if nothing more happens, an aware UTC datetime."""
        return to_datetime(self._expires(clock.now()))

    @property
    def expiry_age(self) -> timedelta:
        """How long it lives if nothing more happens; never negative."""
        now = clock.now()
        return timedelta(milliseconds=max(0, self._expires(now) - now))

    @property
    def is_loaded(self) -> bool:
        """Whether the store has been asked. Does no I/O."""
        return self._state is not None and self._state.is_loaded

    @property
    def accessed(self) -> bool:
        """Whether the application has looked into it. Does no I/O."""
        return self._state is not None

    @property
    def is_modified(self) -> bool:
        """Whether there is anything to save. Does no I/O."""
        state = self._state
        if state is None or not state.is_loaded:
            return False
        with state.lock:
            try:
                return state.is_changed
            except SerializationError:
                return True

    # What can be done with it

    def save(self) -> None:
        """Store it now. What this made durable is announced to the browser whatever the status.

        If another request was faster, its values take the place of those that were not changed
        here, also of lists and dictionaries that were read: read them again afterwards.

        :raises SerializationError: if a value cannot be stored.
        :raises SessionTooLarge: if all of them together are over the limit.
        """
        state = self._load()
        with state.lock:
            self._begin_writing(state)
            try:
                persist(state)
            except StoreError:
                state.save_failed = state.store_failed = True
                raise
            state.save_failed = False

    def load(self) -> None:
        """Forget what was changed since it was loaded or saved, and read it again."""
        if not self.is_loaded:
            self._load()
            return
        state = self._load()
        with state.lock:
            self._refuse_frozen()
            may_send_cookies = self._phase == OPEN
            self._ask_store(lambda: state.read_again(self._cookie_header, may_send_cookies=may_send_cookies))

    def flush(self) -> None:
        """End it now and start over, empty and under a new id: call this at logout."""
        state = self._load()
        with state.lock:
            self._refuse_frozen()
            self._ask_store(lambda: state.end(self._cookie_header))

    def delete(self) -> None:
        """End it now; writing to it afterwards raises SessionDeleted."""
        state = self._load()
        with state.lock:
            self.flush()
            state.deleted = True

    def cycle_id(self) -> None:
        """Give it a new token when it is saved and keep the data: call this at login.

        The public id, which opens nothing, stays. If the response fails, so does the old token.
        """
        state = self._load()
        with state.lock:
            self._begin_writing(state)
            self._refuse_late("a new token")
            state.cycle = True

    def _revert(self) -> None:
        """Forget what was changed since it was loaded or saved, without asking the store."""
        if self.is_loaded:
            state = self._load()
            with state.lock:
                self._refuse_frozen()
                state.revert()

    def _begin_again(self) -> None:
        """Forget also what went wrong, for another attempt at the same request."""
        self._revert()
        if self._state is not None:
            self._state.deleted = self._state.store_failed = self._state.save_failed = False

    def _expires(self, now: int) -> int:
        state = self._load()
        with state.lock:
            return state.expires(now, only_read=not self.is_modified)

    def __repr__(self) -> str:
        state = self._state
        if state is None or not state.is_loaded:
            return f"<{type(self).__name__}: not loaded>"
        id = None if state.record is None else state.record.id
        return f"<{type(self).__name__} {id!r}: {len(state.values)} keys>"


def _is_same(expiry: Expiry | None, stored: Expiry | None) -> bool:
    # As they are stored: a policy may hold fractions of a millisecond, a record does not.
    if expiry is None or stored is None:
        return expiry is stored
    return expiry.dump() == stored.dump()


def _check_owner(owner: object) -> None:
    if owner is None:
        return
    if type(owner) is not str:
        raise TypeError(f"owner must be a str or None, not {type(owner).__name__}: write str(user.id)")
    # Surrogates cannot be encoded, and PostgreSQL stores no NUL.
    if not 1 <= len(owner) <= _LONGEST_OWNER or "\0" in owner or any("\ud800" <= char <= "\udfff" for char in owner):
        raise ValueError(f"owner must be 1 to {_LONGEST_OWNER} characters of text")
