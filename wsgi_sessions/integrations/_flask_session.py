"""The session as ``flask.session``."""

from __future__ import annotations

from typing import Any

import flask
from flask.sessions import SessionMixin

from ..codec import STORABLE
from ..exceptions import SerializationError
from ..mapping import OPEN
from ..session import Session
from ._flask_config import browser_session_expiry, permanent_expiry
from ._flask_values import as_flask_stores


class FlaskSession(Session, SessionMixin):
    """The session as ``flask.session``, with the attributes that Flask documents."""

    # All are set on the session itself, which outlives its views.
    _app: flask.Flask
    #: No middleware will commit it: a test's, or that of a request context without a request.
    _is_detached = False
    _is_marked = False
    _is_cleared = False

    @property
    def new(self) -> bool:  # type: ignore[override]  # Flask has an attribute there
        """Whether the visitor presented no live session."""
        return self.is_new

    @property
    def accessed(self) -> bool:
        """Whether the response may depend on it; then it has ``Vary: Cookie``.

        Flask sets it when ``flask.session`` is touched; nothing is read for that. It cannot be taken back.
        """
        return self._state is not None

    @accessed.setter
    def accessed(self, accessed: bool) -> None:
        if accessed and self._state is None and self._phase == OPEN:
            self._mark_accessed()

    @property
    def modified(self) -> bool:
        """Whether there is anything to save.

        Changes are noticed, also inside of lists and dictionaries, so nobody has to set it. Set to False it
        forgets what was changed so far.
        """
        return self._is_marked or self.is_modified

    @modified.setter
    def modified(self, modified: bool) -> None:
        self._is_marked = bool(modified)
        if not modified:
            self._revert()

    @property
    def permanent(self) -> bool:
        """Whether it outlives the browser.

        Then it ends PERMANENT_SESSION_LIFETIME after its last use.
        """
        return self.expiry.persistent

    @permanent.setter
    def permanent(self, permanent: bool) -> None:
        # An application inside of another one's request has a configuration of its own.
        app = flask.current_app if flask.has_app_context() else self._app
        if bool(permanent) == self._settings.expiry.persistent:
            self.expiry = None  # the default again
        else:
            self.expiry = permanent_expiry(app) if permanent else browser_session_expiry(app)

    @property
    def sid(self) -> str | None:
        """The public id, under Flask-Session's name for it. Here it opens no session."""
        return self.id

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value if type(value) in STORABLE else as_flask_stores(value))

    def clear(self) -> None:
        """Start over, as Flask's applications expect at login and logout.

        What is stored afterwards goes with a new token; if nothing is, the session ends with the response.
        """
        super().clear()
        if self.owner is not None:
            self.owner = None
        self.expiry = None  # the default again
        if self._phase == OPEN:
            self.cycle_id()
        self._is_cleared = True

    def _end_if_cleared(self) -> None:
        """End a session that was cleared and holds nothing.

        Not every empty one: another tab that shows the last flash message must not end what a login is about to use.
        """
        if self._is_cleared and not len(self) and self.owner is None and not self.is_new:
            self.flush()

    def _convert(self) -> bool:
        """Turn values inside of others into what Flask would have stored; return whether that was needed."""
        state = self._load()
        with state.lock:
            try:
                state.values.changes()
            except SerializationError:
                for key in [*state.values.watched]:
                    state.values[key] = as_flask_stores(state.values[key])
                return True
            return False
