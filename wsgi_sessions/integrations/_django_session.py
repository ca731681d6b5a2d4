"""Django's session over ours: what differs from what was loaded is laid over it when it is saved."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any

from asgiref.sync import sync_to_async
from django.contrib.auth import SESSION_KEY as USER_KEY
from django.contrib.sessions.backends.base import CreateError, SessionBase, UpdateError
from msgspec.structs import replace

from .. import clock
from ..exceptions import SerializationError, StoreError
from ..expiry import to_datetime
from ..presented import Standing
from ..saving import create
from ..session import Session
from ..token import SessionToken
from ._django_store import current_settings, current_store, settings_until

# Stands for a key that is not there: None can be stored.
_ABSENT = object()


class SessionStore(SessionBase):  # type: ignore[misc]  # Django has no types
    """Django's session, kept in the store that ``WSGI_SESSIONS_STORE`` names.

    Its key is a credential, ``id.secret``, of which the store keeps a hash only; ``public_id`` is the part of it
    for logs and tables. A save stores the keys that were changed and leaves the others as other requests have made
    them meanwhile. Values keep their types; ``SESSION_SERIALIZER`` is not used. A session belongs to the user that
    is logged in: ``wsgi_sessions.operations.revoke(store, str(user.pk))`` ends all of them.
    """

    #: A store error has been raised to the application.
    store_failed = False
    #: A login has replaced the key a moment ago, and a parallel request has just got the new one.
    is_superseded = False

    # None until the store has been asked, or what it holds has been ended.
    _core: Session | None = None
    _is_cleared = False
    _session_key: str | None

    def __init__(self, session_key: str | None = None) -> None:
        super().__init__(session_key)
        # The objects that were loaded or saved last, by which a save knows what is another one since.
        self._known: dict[str, Any] = {}

    @property
    def public_id(self) -> str | None:
        """The part of the key that opens nothing, 22 characters: for logs and foreign keys. Does no I/O."""
        token = None if self.session_key is None else SessionToken.parse(self.session_key)
        return None if token is None else token.id

    def exists(self, session_key: str | None) -> bool:
        """Tell whether a key opens a live session; the right id with a wrong secret does not."""
        return session_key is not None and not self._opened(session_key).is_new

    def open(self) -> None:
        """Ask the store whether the key opens a session, unless that is known: what a save would do first."""
        self._get_session()
        if self.session_key is not None:
            self._stored()

    def load(self) -> dict[str, Any]:
        """Return what is stored; if the key opens nothing, forget the key and return an empty dict."""
        if self.session_key is None:
            return {}
        core = self._opened(self.session_key)
        data = _values_of(core)
        if core.is_new:
            self._refuse(core)
            return data
        if not hasattr(self, "_session_cache"):
            self._core, self._known = core, data.copy()
        return data

    def create(self) -> None:
        """Store a new session, also an empty one, under a new key."""
        core = Session(current_settings(), "")
        self._lay_over(core, self._get_session(no_load=True), {})
        with self._asking_store():
            create(core._load())
        self._core, self.is_superseded = core, False
        self._settle(core)
        self.modified = True

    def save(self, must_create: bool = False) -> None:
        """Store the keys that were changed, and move the end.

        :raises UpdateError: if the session was ended or got another key elsewhere.
        :raises CreateError: if it is there already and ``must_create`` is true.
        :raises SerializationError: if a value cannot be stored.
        :raises StoreError: if it may not have been stored.
        """
        if must_create and self.exists(self.session_key):
            raise CreateError
        data = self._get_session(no_load=must_create)
        if must_create or self.session_key is None:
            self.create()
            return
        core = self._stored()
        if core is None:
            self.create()
        elif core.id is None:
            raise UpdateError
        else:
            self._save(core, data)

    def delete(self, session_key: str | None = None) -> None:
        """End a session, this one unless another key is given; a key that opens nothing is no error."""
        is_own = session_key is None or session_key == self.session_key
        key = self.session_key if session_key is None else session_key
        if key is None:
            return
        core = self._core if is_own and self._core is not None else self._opened(key)
        if core.id is not None:
            with self._asking_store():
                core.delete()
        if is_own:
            self._core = core

    def flush(self) -> None:
        """End the session now and start over without a key."""
        super().flush()
        self._core, self._known = None, {}
        self.is_superseded = False

    async def aflush(self) -> None:
        """See :meth:`flush`."""
        await sync_to_async(self.flush)()

    def clear(self) -> None:
        """Drop the data, also what another request is adding meanwhile, and keep the session."""
        super().clear()
        self._is_cleared = True

    def cycle_key(self) -> None:
        """Give the session a new key at once and keep its data; the old key opens nothing from now on.

        Where the session was ended meanwhile, elsewhere, this starts an empty one: what was ended stays so.
        """
        self.open()
        core = self._core
        if core is not None and core.id is not None:
            core.cycle_id()
            with suppress(UpdateError):
                self.save()
                self.modified = True
                return
        if core is not None:
            self.clear()
        self.create()

    async def acycle_key(self) -> None:
        """See :meth:`cycle_key`."""
        await sync_to_async(self.cycle_key)()

    @classmethod
    def clear_expired(cls) -> None:
        """Remove the expired sessions from the store: what ``manage.py clearsessions`` does."""
        store = current_store()
        while store.delete_expired():
            pass

    def _validate_session_key(self, key: object) -> bool:
        return isinstance(key, str) and SessionToken.parse(key) is not None

    def _opened(self, key: str) -> Session:
        """Return the session that a key opens, or a new one."""
        core = Session(current_settings(), key)
        try:
            core._load()
        except StoreError:
            self.store_failed = True
            raise
        return core

    def _stored(self) -> Session | None:
        """Return the session that was loaded or is now, having been cleared before; None if the key opens nothing."""
        if self._core is None:
            core = self._opened(self.session_key)
            if core.is_new:
                self._refuse(core)
                return None
            self._core, self._known = core, _values_of(core)
        return self._core

    def _refuse(self, core: Session) -> None:
        """Forget a key that opens nothing."""
        self.is_superseded = core._load().standing is not Standing.NEW
        self._session_key = None

    def _save(self, core: Session, data: dict[str, Any]) -> None:
        values = core._load().values
        before = values.data
        self._lay_over(core, data, self._known)
        owner = _owner_of(data)
        with self._asking_store():
            core.save()
            if core.id is not None and owner != _owner_of(self._known) and owner != core.owner:
                # Another has saved in between, and with it that there is no owner.
                core.owner = owner
                core.save()
        if core.id is None:
            raise UpdateError
        if values.data is not before:
            data.clear()
            data.update(_values_of(core))
        self._settle(core)

    def _lay_over(self, core: Session, data: dict[str, Any], known: dict[str, Any]) -> None:
        """Bring what was changed since it was known into the session, and nothing else."""
        for key in data:
            if type(key) is not str:
                reason = f"keys of a session are str, not {type(key).__name__}: write {str(key)!r}"
                raise SerializationError(reason, f"session[{key!r}]")
        core._load().settings = settings_until(self._end())
        if _owner_of(data) != _owner_of(known):
            _set_owner(core, _owner_of(data))
        if self._is_cleared:
            core.clear()
            known = {}
        for key in known.keys() - data.keys():
            core.pop(key, None)
        # A list or dict that is the same object as before may have changed inside, and the core looks for that.
        core.update({key: value for key, value in data.items() if known.get(key, _ABSENT) is not value})

    def _settle(self, core: Session) -> None:
        token = core._load().token
        assert token is not None
        self._session_key = token.value
        self._known = self._session_cache.copy()
        self._is_cleared = False

    def _end(self) -> int:
        """Return when the session ends if it is saved now, in Unix milliseconds."""
        date: datetime = self.get_expiry_date(modification=to_datetime(clock.now()))
        return max(0, round(date.timestamp() * 1000))

    @contextmanager
    def _asking_store(self) -> Iterator[None]:
        try:
            yield
        except StoreError:
            self.store_failed = True
            raise


def _values_of(core: Session) -> dict[str, Any]:
    """Return the values, decoded; what does not decode stays in the store and is left out."""
    values = core._load().values
    data = {}
    for key in list(values.data):
        try:
            data[key] = values[key]
        except KeyError:
            continue
    return data


def _owner_of(data: dict[str, Any]) -> str | None:
    user = data.get(USER_KEY)
    return user if user is None else str(user)


def _set_owner(core: Session, owner: str | None) -> None:
    core.owner = owner
    state = core._load()
    if state.token_is_new and state.record is not None:
        # Django gives a session its new key before it says whose it is. Another one would only make those useless
        # that a receiver of user_logged_in has kept.
        state.record = replace(state.record, owner=owner)
