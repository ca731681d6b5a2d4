"""Django's session over ours, which stands where Django has a dict."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta

from asgiref.sync import sync_to_async
from django.contrib.auth import SESSION_KEY as USER_KEY
from django.contrib.sessions.backends.base import CreateError, SessionBase, UpdateError
from msgspec.structs import replace

from .. import clock, codec
from ..exceptions import RecordNotFound, StoreError, VersionConflict
from ..expiry import AtDateTime, Expiry, OnInactivity, to_datetime
from ..presented import Standing
from ..saving import create
from ..session import Session
from ..token import SessionToken
from ._django_store import current_settings, current_store, settings_of_request, settings_until

# Where Django keeps what set_expiry() was given.
_EXPIRY_KEY = "_session_expiry"
# ``id.secret``, in characters.
_KEY_LENGTH = 45


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
    #: The request's Cookie header, as long as it may bring a session of another library; otherwise the key counts.
    cookie_header: str | None = None
    #: It came by the cookie of another library in this request.
    is_taken_over = False
    #: The cookie, of no form of ours, opens nothing: it may do so once a mistake is mended.
    is_unread = False
    #: What goes with the next cookie: the Set-Cookie headers that remove that library's.
    removals: tuple[tuple[str, str], ...] = ()

    _session_key: str | None
    #: Where Django keeps the loaded dict; not there until the session is used.
    _session_cache: Session

    @property
    def public_id(self) -> str | None:
        """The part of the key that opens nothing, 22 characters: for logs and foreign keys. Does no I/O."""
        token = None if self.session_key is None else SessionToken.parse(self.session_key)
        return None if token is None else token.id

    @property
    def stored_age(self) -> int:
        """For how long what is stored lives on, in seconds; 0 if nothing is."""
        record = self._get_session()._load().record
        return 0 if record is None else max(0, -((clock.now() - record.expires) // 1000))

    def exists(self, session_key: str | None) -> bool:
        """Tell whether a key opens a live session; the right id with a wrong secret does not."""
        return session_key is not None and not self._opened(session_key).is_new

    def open(self) -> None:
        """Ask the store whether the key opens a session, unless that is known."""
        self._get_session()

    def load(self) -> Session:
        """Return what is stored; if the key opens nothing, forget the key and return an empty session."""
        # From then on the key counts: it may have been replaced.
        header = None if "_session_cache" in self.__dict__ else self.cookie_header
        core = self._opened(self.session_key or "") if header is None else self._presented(header)
        if core.is_new and self.session_key is not None:
            self.is_superseded = core._load().standing is not Standing.NEW
            self._session_key = None
        return core

    def create(self) -> None:
        """Store a new session, also an empty one, under a new key."""
        core = self._get_session(no_load=True)
        state = core._load()
        if state.record is not None or state.standing is Standing.CLOSED:
            data, core = dict(core), Session(current_settings(), "")
            core.update(data)
            state = core._load()
        self._prepare(core)
        self._ask_store(lambda: create(state))
        self._session_cache, self.is_superseded = core, False
        self._take_key(core)
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
        core = self._get_session(no_load=must_create)
        if must_create or self.session_key is None:
            self.create()
            return
        state = core._load()
        if state.record is None:
            raise UpdateError
        owner = self._prepare(core)
        self._ask_store(core.save)
        if owner is not None and state.record is not None and state.owner != owner:
            # Another has saved in between, and with it that there is no owner.
            core.owner = owner
            self._ask_store(core.save)
        if state.record is None:
            raise UpdateError
        self._take_key(core)

    def delete(self, session_key: str | None = None) -> None:
        """End a session, this one unless another key is given; a key that opens nothing is no error."""
        if session_key is None and self.cookie_header is not None:
            # What came by the cookie of another library ends with it.
            self.open()
        key = self.session_key if session_key is None else session_key
        if key is None:
            return
        is_own = key == self.session_key and hasattr(self, "_session_cache")
        core = self._session_cache if is_own else self._opened(key)
        if core.id is not None:
            self._ask_store(core.delete)

    def flush(self) -> None:
        """End the session now and start over without a key."""
        self.delete()
        self._session_key = None
        self._session_cache = Session(current_settings(), "")
        self.accessed = self.modified = True
        self.is_superseded = False

    async def aflush(self) -> None:
        """See :meth:`flush`."""
        await sync_to_async(self.flush)()

    def clear(self) -> None:
        """Drop the data, also what another request is adding meanwhile, and keep the session."""
        self._get_session().clear()
        self.modified = True

    def cycle_key(self) -> None:
        """Give the session a new key at once and keep its data; the old key opens nothing from now on.

        Where the session was ended meanwhile, elsewhere, this starts an empty one: what was ended stays so.
        """
        core = self._get_session()
        if core.id is not None:
            core.cycle_id()
            with suppress(UpdateError):
                self.save()
                self.modified = True
                return
            self._session_cache = Session(current_settings(), "")
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
        # What it is made of is looked at when it is used; most requests do not.
        return isinstance(key, str) and len(key) == _KEY_LENGTH

    def _get_session(self, no_load: bool = False) -> Session:
        """Return what stands where Django has its dict: read when it is first used."""
        self.accessed = True
        core = self.__dict__.get("_session_cache")
        if core is None:
            core = self._session_cache = self._opened("") if no_load else self.load()
        return core

    _session = property(_get_session)

    async def _aget_session(self, no_load: bool = False) -> Session:
        if "_session_cache" in self.__dict__:
            return self._get_session()
        return await sync_to_async(self._get_session)(no_load)

    def _opened(self, key: str) -> Session:
        """Return the session that a key opens, or a new one."""
        core = Session(current_settings(), key)
        self._ask_store(core._load)
        return core

    def _presented(self, cookie_header: str) -> Session:
        """Return the session that a request presents, of ours or of another library, or a new one."""
        core = Session(settings_of_request(self.get_session_cookie_age()), cookie_header)
        self._ask_store(core._load)
        state = core._load()
        if state.is_taken_over:
            # Before the key is known: if this fails, the next request has to come by the old cookie, too.
            self._ask_store(lambda: _give_owner(core))
        if state.record is not None:
            self._take_key(core)
        self.is_taken_over, self.removals = state.is_taken_over, state.removals
        self.is_unread = state.record is None and self.session_key is None
        return core

    def _prepare(self, core: Session) -> str | None:
        """Tell the session before it is stored when it ends, and whose it is; return its owner if that is new."""
        state = core._load()
        asked = core.get(_EXPIRY_KEY)
        state.settings = settings_until(core._settings, self._end(asked))
        if asked is not None or state.own_expiry is not None:
            core.expiry = self._policy(asked)
        owner = _owner_of(core)
        if owner == _stored_owner_of(core):
            return None
        _set_owner(core, owner)
        return owner

    def _policy(self, asked: object) -> Expiry | None:
        """Return what ``set_expiry`` has asked for, for other frameworks that use the same session."""
        if type(asked) is int and asked > 0:
            # As in Django, where each save begins the time anew.
            return OnInactivity(timedelta(seconds=asked), touch_every=timedelta(0))
        if asked is None or type(asked) is int:
            return None
        return AtDateTime(to_datetime(self._end(asked)))

    def _take_key(self, core: Session) -> None:
        token = core._load().token
        assert token is not None
        self._session_key = token.value

    def _end(self, asked: object) -> int:
        """Return when the session ends if it is saved now, in Unix milliseconds."""
        now = clock.now()
        if asked is None:
            age: int = self.get_session_cookie_age()
            return max(0, now + age * 1000)
        date: datetime = self.get_expiry_date(modification=to_datetime(now), expiry=asked)
        return max(0, round(date.timestamp() * 1000))

    def _ask_store(self, action: Callable[[], object]) -> None:
        # Not a context manager, which would take as long as a read of one key.
        try:
            action()
        except StoreError:
            self.store_failed = True
            raise


def _owner_of(core: Session) -> str | None:
    user = core.get(USER_KEY)
    return user if user is None else str(user)


def _stored_owner_of(core: Session) -> str | None:
    """Return whom the session belonged to when it was loaded or saved last."""
    envelope = core._load().envelope
    if envelope is None or USER_KEY not in envelope.data:
        return None
    return str(codec.decode(envelope.data[USER_KEY]))


def _give_owner(core: Session) -> None:
    """Store whose a session is that was just taken over, under the same key: parallel requests have come to it too."""
    state, owner = core._load(), _owner_of(core)
    if state.record is None or state.owner == owner:
        return
    # Another request may have been faster, with the same; or the session has ended.
    with suppress(VersionConflict, RecordNotFound):
        state.record = state.settings.store.save(replace(state.record, owner=owner))
        state.owner = owner


def _set_owner(core: Session, owner: str | None) -> None:
    core.owner = owner
    state = core._load()
    if state.token_is_new and state.record is not None:
        # Django gives a session its new key before it says whose it is. Another one would only make those useless
        # that a receiver of user_logged_in has kept.
        state.record = replace(state.record, owner=owner)
