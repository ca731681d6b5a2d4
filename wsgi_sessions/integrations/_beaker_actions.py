"""What can be done with Beaker's session, apart from what is done with a dictionary."""

from __future__ import annotations

import warnings
from datetime import datetime, timedelta

from .. import clock
from ..expiry import to_datetime
from ..presented import Standing
from ..token import SessionToken
from ._beaker_mapping import BeakerMapping, restore_all


class BeakerActions(BeakerMapping):
    """A session that is saved, ended and remembered as applications know it of Beaker's."""

    _was_invalidated = False
    #: None for the configured one.
    _cookie_expires: bool | timedelta | datetime | None = None
    #: The id that it had until delete() ended it, also if it was not stored.
    _ended_id: str | None = None

    def save(self) -> None:
        """Say that its changes are meant to last; they are stored when the response begins, or by :meth:`persist`."""
        self._is_saved = True

    def persist(self) -> None:
        """Store it now; see :meth:`Session.save`."""
        state = self._load()
        with state.lock:
            self._prepare_save(state)
            super().save()
        self._changed_keys = frozenset()

    def delete(self) -> None:
        """End it now, and have the browser drop the cookie; what is written to it afterwards begins a new one."""
        self._is_saved = True
        state = self._load()
        id = state.reserved_id if state.record is None else state.record.id
        self.flush()
        # One that had none is told one of nothing, which makes no session.
        self._ended_id = id or SessionToken.generate().id

    def invalidate(self) -> None:
        """End it now and start over, empty and under a new id."""
        self.flush()
        self._was_invalidated = True

    def flush(self) -> None:
        """End it now and start over; see :meth:`Session.flush`."""
        super().flush()
        self._ended_id = None
        self._at_load = self._known_at_load()._replace(values={})

    def regenerate_id(self) -> None:
        """Give it a new token and keep the data; see :meth:`Session.cycle_id`. The public id stays."""
        self.cycle_id()

    def load(self) -> None:
        """Forget which values were changed since it was loaded or stored, and read them again."""
        if not self.is_loaded:
            self._load()
            return
        state = self._load()
        with state.lock:
            cycle, expiry, is_new_expiry = state.cycle, state.own_expiry, state.own_expiry is not state.stored_expiry
            super().load()
            if state.standing is not Standing.CLOSED:
                # As Beaker has it, only the values are forgotten.
                state.cycle = cycle
                state.own_expiry = expiry if is_new_expiry else state.own_expiry
            self._changed_keys = frozenset()
            self._at_load = self._known_at_load()._replace(values=state.values.loaded)

    def revert(self) -> None:
        """Forget which values were changed since it was loaded."""
        state = self._load()
        with state.lock:
            self._refuse_frozen()
            restore_all(state.values, self._known_at_load().values)
            state.is_written = True
            self._changed_keys = frozenset()

    def lock(self) -> None:
        """Do nothing: no request waits for another one's session."""
        warnings.warn("session.lock() does nothing: changes of parallel requests are merged", DeprecationWarning, 2)

    def unlock(self) -> None:
        """Do nothing."""
        warnings.warn("session.unlock() does nothing: changes of parallel requests are merged", DeprecationWarning, 2)

    # How long the browser keeps its cookie

    @property
    def cookie_expires(self) -> bool | timedelta | datetime:
        """Beaker's option of that name; setting it has no effect before ``_set_cookie_expires``."""
        chosen = self._cookie_expires
        return self._terms.options.cookie_expires if chosen is None else chosen

    @cookie_expires.setter
    def cookie_expires(self, cookie_expires: bool | timedelta | datetime) -> None:
        self._cookie_expires = cookie_expires

    def _set_cookie_expires(self, expires: bool | timedelta | datetime | None = None) -> bool | datetime:
        """Have this session, and its cookie, last longer or shorter than others; Beaker's way to "remember me"."""
        expires = self.cookie_expires if expires is None else expires
        if not isinstance(expires, bool | timedelta | datetime):
            raise ValueError(f"cookie_expires must be a bool, timedelta or datetime, not {type(expires).__name__}")
        self._cookie_expires = expires
        now = to_datetime(clock.now())
        if isinstance(expires, timedelta) and expires <= timedelta(0):
            self.delete()
            return now
        policy = self._terms.expiry(expires)
        end = to_datetime(policy.expires(clock.now()))
        if end <= now:
            self.delete()
        else:
            self.expiry = None if policy == self._settings.expiry else policy
        return True if expires is True else end

    def _set_cookie_values(self, expires: bool | timedelta | datetime | None = None) -> None:
        self._set_cookie_expires(expires)

    def _update_cookie_out(self, set_cookie: bool = True) -> None:
        self._set_cookie_expires()
        self._is_sent_again = self._is_sent_again or set_cookie
