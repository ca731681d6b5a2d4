"""The pages that a real browser visits, and what each does with a session; the same for every framework."""

import json
import os
import time
from html import escape
from pathlib import Path

_STYLE = """
body { margin: 0; font: 16px/1.5 sans-serif; color: #24292f; background: #eef1f5 }
main { max-width: 22em; margin: 2em auto; padding: 1.2em 1.8em 1.6em; background: #fff;
       border: 1px solid #d5dae1; border-radius: 8px }
h1 { margin: 0 0 .6em; font-size: 1.4em }
p { margin: 0 0 1em }
label { display: block; margin-bottom: .2em }
input { display: block; box-sizing: border-box; width: 100%; margin-bottom: 1em; padding: .45em .6em; font: inherit;
        border: 1px solid #b9c0ca; border-radius: 5px }
button, .button { display: inline-block; padding: .4em 1.1em; font: inherit; color: #fff; background: #1f5fbf;
                  border: 0; border-radius: 5px; text-decoration: none }
iframe { width: 100%; height: 14em; border: 0 }
"""
_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>{style}</style>
<main>
<h1>{title}</h1>
{body}
</main>
</html>
"""
# Long enough that requests which a browser sends together are under way together.
_WORK = 0.03
_PATIENCE = 15


def _page(title, body):
    return _PAGE.format(title=title, style=_STYLE, body=body)


LOGIN = _page(
    "Log in",
    """<form method="post">
<label for="user">Name</label>
<input id="user" name="user" required autofocus autocomplete="off">
<label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="off">
<button id="login">Log in</button>
</form>""",
)

#: Sends ten requests at once when ``send`` is called, each of which changes a key of its own.
PARALLEL = _page(
    "Ten requests at once",
    """<p id="result"></p>
<script>
async function send(value, ...others) {
    const numbers = Array.from({length: 10}, (_, number) => number);
    const put = number => fetch("keys", {method: "POST", body: new URLSearchParams({key: "key" + number, value})});
    const answers = await Promise.all([...numbers.map(put), ...others.map(start => start())]);
    const statuses = answers.map(answer => answer.status);
    document.getElementById("result").textContent = [value, ...statuses].join(" ");
}
const login = user => fetch("login", {method: "POST", body: new URLSearchParams({user})});
</script>""",
)

#: Asks who is logged in, again and again, and keeps each answer.
POLLER = _page(
    "Polls",
    """<p>Last answer: <b id="last"></b></p>
<script>
const answers = [];
(async () => {
    for (;;) {
        const answer = await fetch("poll", {method: "POST"});
        answers.push(answer.status + " " + await answer.text());
        document.getElementById("last").textContent = answers.at(-1);
    }
})();
</script>""",
)


def welcome(session):
    visits = session.mutate("visits", lambda visits: visits + 1, default=0)
    user = session.owner
    times = "time" if visits == 1 else "times"
    visited = f'<p>You have been here <b id="visits">{visits}</b> {times}.</p>'
    if user is None:
        return _page('Welcome, <span id="user">guest</span>', visited + '<a class="button" href="login">Log in</a>')
    button = '<form method="post" action="logout"><button id="logout">Log out</button></form>'
    return _page(f'Welcome, <span id="user">{escape(user)}</span>', visited + button)


def log_in(session, user):
    session.cycle_id()
    session.owner = user


def end(session):
    """Log out, and give no guest a session instead."""
    session.flush()
    return "gone"


def who(session):
    return session.owner or "guest"


def poll(session):
    """Read at the begin of some work, and write at its end."""
    user = who(session)
    time.sleep(_WORK)
    session.mutate("polls", lambda polls: polls + 1, default=0)
    return user


def put(session, key, value):
    session.get(key)
    time.sleep(_WORK)
    session[key] = value
    return value


def keys(session):
    return json.dumps({key: value for key, value in session.items() if key.startswith("key")})


def held(session, read):
    """Wait until the test lets go, and write; read the session before or after the wait."""
    directory = Path(os.environ["SESSIONS"]).parent
    user = who(session) if read == "before" else None
    (directory / "started").touch()
    deadline = time.monotonic() + _PATIENCE
    while not (directory / "go").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    user = user or who(session)
    session["keyheld"] = "late"
    return user


def frame(address):
    """Show the page of another site."""
    return _page("A page of another site", f'<iframe src="{escape(address)}"></iframe>')
