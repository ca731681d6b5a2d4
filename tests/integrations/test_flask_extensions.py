"""Flask-Login, Flask-WTF and Authlib over our sessions, each in an application that uses it for real."""

from __future__ import annotations

import json
import re
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit
from wsgiref.simple_server import WSGIRequestHandler, make_server

import flask
import flask_login
import pytest
from flask_site import CheckedClient, FlaskSite
from flask_wtf import CSRFProtect, FlaskForm
from wtforms import StringField

from wsgi_sessions.operations import revoke

KEY = secrets.token_urlsafe(32)


class User(flask_login.UserMixin):
    def __init__(self, id: str) -> None:
        self.id = id


def with_login(**config: Any) -> FlaskSite:
    site = FlaskSite(config={"SECRET_KEY": KEY, **config})
    manager = flask_login.LoginManager(site.app)
    manager.user_loader(User)
    manager.login_view = "login"

    @flask_login.user_logged_in.connect_via(site.app)
    def take_over(_app: flask.Flask, user: User, **_rest: Any) -> None:
        flask.session.cycle_id()
        flask.session.owner = user.get_id()

    @flask_login.user_logged_out.connect_via(site.app)
    def let_go(_app: flask.Flask, **_rest: Any) -> None:
        flask.session.cycle_id()
        flask.session.owner = None

    # The signals keep weak references only.
    site.receivers = (take_over, let_go)  # type: ignore[attr-defined]

    @site.app.route("/login", methods=["GET", "POST"])
    def login() -> Any:
        if flask.request.method == "GET":
            return "please log in"
        flask_login.login_user(User(flask.request.form["user"]), remember="remember" in flask.request.form)
        return flask.redirect("/me")

    @site.app.post("/logout")
    def logout() -> Any:
        flask_login.logout_user()
        return flask.redirect("/login")

    @site.app.get("/me")
    @flask_login.login_required
    def me() -> str:
        return f"{flask_login.current_user.id}, fresh: {flask_login.login_fresh()}"

    return site


class TestFlaskLogin:
    def test_login_and_logout(self) -> None:
        site = with_login()
        client = site.client()
        assert client.get("/me").headers["Location"].startswith("/login")
        client.post("/login", data={"user": "anna"})
        assert client.get("/me").text == "anna, fresh: True"
        client.post("/logout")
        assert client.get("/me").status_code == 302

    def test_its_signal_gives_the_session_an_owner_and_a_new_token(self) -> None:
        site = with_login()
        client = site.client()
        site.set(client, cart=["tea"])
        before = client.get_cookie("id").value
        client.post("/login", data={"user": "anna"})
        thief = site.client()
        thief.set_cookie("id", before)
        assert thief.get("/me").status_code == 302
        assert client.get("/me").text == "anna, fresh: True"
        assert site.ask(client, lambda session: session["cart"]) == ["tea"]
        assert [record.owner for record in site.records()] == ["anna"]

    def test_a_stolen_cookie_is_worth_nothing_after_the_logout_nor_after_the_next_login(self) -> None:
        site = with_login()
        client, thief = site.client(), site.client()
        client.post("/login", data={"user": "anna"})
        thief.set_cookie("id", client.get_cookie("id").value)
        client.post("/logout")
        assert [record.owner for record in site.records()] == [None]
        client.post("/login", data={"user": "anna"})
        assert client.get("/me").status_code == 200
        assert thief.get("/me").status_code == 302
        assert site.ask(thief, lambda session: session.owner) is None

    def test_all_sessions_of_a_user_can_be_ended(self) -> None:
        site = with_login()
        clients = [site.client() for _ in range(3)]
        for client in clients:
            client.post("/login", data={"user": "anna"})
        assert revoke(site.store, "anna") == 3
        assert [client.get("/me").status_code for client in clients] == [302, 302, 302]

    def test_it_remembers_who_comes_back_without_a_session(self) -> None:
        site = with_login()
        client = site.client()
        client.post("/login", data={"user": "anna", "remember": "yes"})
        client.delete_cookie("id")
        assert client.get("/me").text == "anna, fresh: False"
        client.post("/logout")
        assert client.get_cookie("remember_token") is None
        assert client.get("/me").status_code == 302

    @pytest.mark.parametrize("protection", ["basic", "strong"])
    def test_its_session_protection_works(self, protection: str) -> None:
        site = with_login(SESSION_PROTECTION=protection)
        client = site.client()
        client.post("/login", data={"user": "anna"}, headers={"User-Agent": "one"})
        assert client.get("/me", headers={"User-Agent": "one"}).text == "anna, fresh: True"
        elsewhere = client.get("/me", headers={"User-Agent": "another"})
        if protection == "basic":
            assert elsewhere.text == "anna, fresh: False"
        else:
            assert elsewhere.status_code == 302


def with_forms() -> FlaskSite:
    site = FlaskSite(config={"SECRET_KEY": KEY})
    CSRFProtect(site.app)

    class NameForm(FlaskForm):
        name = StringField()

    @site.app.route("/form", methods=["GET", "POST"])
    def form() -> str:
        form = NameForm()
        if form.validate_on_submit():
            flask.session["name"] = form.name.data
            return f"hello {form.name.data}"
        return flask.render_template_string("{{ form.csrf_token }}", form=form)

    return site


class TestFlaskWTF:
    def token(self, client: CheckedClient) -> str:
        found = re.search(r'value="([^"]+)"', client.get("/form").text)
        assert found is not None
        return found[1]

    def test_a_form_with_its_token_is_accepted(self) -> None:
        site = with_forms()
        client = site.client()
        token = self.token(client)
        answer = client.post("/form", data={"name": "anna", "csrf_token": token})
        assert answer.text == "hello anna"
        assert site.ask(client, lambda session: session["name"]) == "anna"

    def test_a_form_without_it_or_with_a_strangers_is_refused(self) -> None:
        site = with_forms()
        client = site.client()
        self.token(client)
        assert client.post("/form", data={"name": "anna"}).status_code == 400
        strangers = self.token(site.client())
        assert client.post("/form", data={"name": "anna", "csrf_token": strangers}).status_code == 400

    def test_the_token_survives_a_login_that_rotates(self) -> None:
        site = with_forms()
        client = site.client()
        token = self.token(client)
        site.ask(client, lambda session: session.cycle_id())
        assert client.post("/form", data={"name": "anna", "csrf_token": token}).text == "hello anna"


class QuietHandler(WSGIRequestHandler):
    def log_message(self, *arguments: Any) -> None: ...


@contextmanager
def provider() -> Iterator[tuple[str, list[dict[str, list[str]]]]]:
    """Serve an OAuth 2 token endpoint on loopback; yields its URL and the forms that were posted to it."""
    forms: list[dict[str, list[str]]] = []

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        forms.append(parse_qs(body.decode()))
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps({"access_token": "token of anna", "token_type": "Bearer"}).encode()]

    with make_server("127.0.0.1", 0, application, handler_class=QuietHandler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", forms
        finally:
            server.shutdown()
            thread.join(10)


def with_oauth(url: str) -> FlaskSite:
    from authlib.integrations.flask_client import OAuth

    site = FlaskSite(config={"SECRET_KEY": KEY})
    oauth = OAuth(site.app)
    oauth.register(
        "example",
        client_id="client",
        client_secret="shared",
        authorize_url=f"{url}/authorize",
        access_token_url=f"{url}/token",
        client_kwargs={"code_challenge_method": "S256"},
    )

    @site.app.get("/login")
    def login() -> Any:
        return oauth.example.authorize_redirect("http://localhost/callback")

    @site.app.get("/callback")
    def callback() -> str:
        flask.session["token"] = oauth.example.authorize_access_token()["access_token"]
        return "welcome"

    return site


class TestAuthlib:
    def test_the_state_survives_the_way_to_the_provider_and_back(self) -> None:
        with provider() as (url, forms):
            site = with_oauth(url)
            client = site.client()
            asked = parse_qs(urlsplit(client.get("/login").headers["Location"]).query)
            states = site.ask(client, lambda session: [key for key in session if key.startswith("_state_")])
            assert len(states) == 1
            answer = client.get("/callback", query_string={"code": "a code", "state": asked["state"][0]})
            assert answer.text == "welcome"
        assert site.ask(client, dict) == {"token": "token of anna"}
        assert forms[0]["code"] == ["a code"]
        assert "code_verifier" in forms[0]

    def test_two_logins_in_two_tabs_do_not_disturb_each_other(self) -> None:
        with provider() as (url, _):
            site = with_oauth(url)
            client = site.client()
            first, second = (
                parse_qs(urlsplit(client.get("/login").headers["Location"]).query)["state"][0] for _ in range(2)
            )
            assert client.get("/callback", query_string={"code": "1", "state": first}).text == "welcome"
            assert client.get("/callback", query_string={"code": "2", "state": second}).text == "welcome"

    def test_a_made_up_state_is_refused(self) -> None:
        with provider() as (url, forms):
            site = with_oauth(url)
            client = site.client()
            client.get("/login")
            site.app.config["PROPAGATE_EXCEPTIONS"] = False
            answer = client.get("/callback", query_string={"code": "a code", "state": "made up"})
            assert answer.status_code == 500
        assert forms == []
