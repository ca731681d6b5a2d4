"""A Flask application whose pages are functions, with our sessions, a protocol checker around it and a browser."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from wsgiref.validate import validator

import flask
from harness import RecordingStore
from werkzeug.test import Client

from wsgi_sessions.integrations.flask import WSGISessions


class CheckedClient(Client):
    """A browser that puts the checker before an application, and closes each body, as the checker demands."""

    def __init__(self, app: Any) -> None:
        super().__init__(validator(app))

    def open(self, *arguments: Any, **options: Any) -> Any:
        """Send a request and read the whole answer."""
        return super().open(*arguments, **{"buffered": True, **options})


class FlaskSite:
    """One application.

    :param store: a RecordingStore unless given; False for none.
    :param config: set before the sessions.
    :param options: those of WSGISessions.
    """

    def __init__(self, store: Any = None, config: dict[str, Any] | None = None, **options: Any) -> None:
        self.store = RecordingStore() if store is None else store
        self.app = flask.Flask("site")
        self.app.config.update(config or {})
        WSGISessions(self.app, None if store is False else self.store, **options)
        self.handler: Callable[[], Any] = lambda: "untouched"
        self.app.add_url_rule("/", view_func=lambda: self.handler(), methods=["GET", "POST"])

    @property
    def sessions(self) -> Any:
        """The middleware around the application."""
        return self.app.wsgi_app

    def client(self) -> Client:
        """Return a browser without cookies, before it the checker."""
        return CheckedClient(self.app)

    def visit(self, client: Client, handler: Callable[[], Any], **options: Any) -> Any:
        """Request the page and let it do and answer this."""
        self.handler = handler
        return client.get("/", **options)

    def ask(self, client: Client, question: Callable[[Any], Any]) -> Any:
        """Return what a function of the session returns within a request."""
        answers: list[Any] = []

        def handler() -> str:
            answers.append(question(flask.session))
            return "asked"

        assert self.visit(client, handler).status_code == 200
        return answers[0]

    def set(self, client: Client, **values: Any) -> Any:
        """Set keys of the session."""

        def handler() -> str:
            flask.session.update(values)
            return "set"

        return self.visit(client, handler)

    def records(self) -> list[Any]:
        """Return what is stored."""
        return list(self.store.scan())
