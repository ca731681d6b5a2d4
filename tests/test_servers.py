"""The middleware under the servers that people run, over real sockets."""

import errno
import os
import signal
import subprocess
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import pytest
from servers import COMMANDS, CONCURRENT, GUNICORN, ROOT, TIMEOUT, at_once, running

from demo.visitor import visit
from wsgi_sessions import FileStore, Record, clock

pytestmark = pytest.mark.servers

# One of each kind of worker, where starting all of them would show nothing new.
TWO_WORKERS = ["gunicorn-sync", "gunicorn-gthread"]


def stored_records(directory):
    return list(FileStore(directory / "sessions").scan())


def wait_until(happened, what):
    deadline = time.monotonic() + TIMEOUT
    while not happened():
        assert time.monotonic() < deadline, f"{what} did not happen"
        time.sleep(0.02)


@contextmanager
def slow_request(browser, directory, value):
    """Have a request under way, which has read its session, inside the block, and end with it."""
    answers = []
    join = _in_background(lambda: answers.append(browser.get(f"/slow?value={value}")))
    wait_until((directory / "started").exists, "the slow request")
    try:
        yield answers
    finally:
        (directory / "go").touch()
        join()


def _in_background(work):
    """Begin it in a thread; call what is returned to wait for its end."""
    pool = ThreadPoolExecutor(1)
    future = pool.submit(work)

    def join():
        pool.shutdown()
        return future.result(TIMEOUT)

    return join


@pytest.mark.parametrize("kind", COMMANDS)
def test_the_visitors_story(kind, tmp_path):
    lines = []
    with running(kind, "story:application", tmp_path) as server:
        visit(server.port, lines.append)
    assert "as they should" in lines[-1]


@pytest.mark.parametrize("kind", COMMANDS)
def test_parallel_clients_with_a_key_each_lose_no_write(kind, tmp_path):
    with running(kind, "desk:application", tmp_path) as server:
        browser = server.browser()
        browser.post("/login?user=anna")

        def write_ten(number):
            own = browser.copy()
            return [own.post(f"/put?key=key{number}&value={value}").status for value in range(10)]

        statuses = at_once([lambda number=number: write_ten(number) for number in range(8)])
        assert statuses == [[200] * 10] * 8
        assert [browser.get(f"/get?key=key{number}").text for number in range(8)] == ["9"] * 8
        assert browser.get("/get?key=user").text == "anna"


@pytest.mark.parametrize("kind", CONCURRENT)
def test_logout_beats_a_slow_request(kind, tmp_path):
    with running(kind, "desk:application", tmp_path) as server:
        browser = server.browser()
        browser.post("/login?user=anna")
        old = browser.copy()
        with slow_request(old.copy(), tmp_path, "risen") as answers:
            assert browser.post("/logout").status == 200
        assert [(answer.status, answer.set_cookies) for answer in answers] == [(200, [])]
        assert old.get("/get?key=late").text == "nothing"
        assert old.get("/get?key=user").text == "nothing"
    assert stored_records(tmp_path) == []


@pytest.mark.parametrize("kind", TWO_WORKERS)
def test_sigterm_lets_a_request_end_and_saves_it(kind, tmp_path):
    """T-70."""
    with running(kind, "desk:application", tmp_path) as server:
        browser = server.browser()
        browser.post("/login?user=anna")
        with slow_request(browser, tmp_path, "saved") as answers:
            server.process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
        assert [answer.text for answer in answers] == ["saved"]
        server.process.wait(TIMEOUT)
    with running(kind, "desk:application", tmp_path) as server:
        browser.port = server.port
        assert browser.get("/get?key=late").text == "saved"
        assert browser.get("/get?key=user").text == "anna"


def test_killed_workers_leave_every_session_old_or_new(tmp_path):
    """T-70: SIGKILL in the middle of 1,000 writes."""
    with running("gunicorn-gthread", "desk:application", tmp_path, quiet=False) as server:
        writers = [_Writer(server.browser(), number) for number in range(8)]
        join = _in_background(lambda: at_once([writer.write_all for writer in writers]))
        for written in (25, 60, 95):
            wait_until(lambda written=written: writers[0].number >= written, "a write")
            os.kill(int(_retried(server.browser(), "/pid").text), signal.SIGKILL)
        join()
        assert sum(writer.number for writer in writers) == 1000
        for writer in writers:
            writer.check()
    assert len(stored_records(tmp_path)) == 8


class _Writer:
    """Writes 1, 2, 3... to a session of its own; after a write without an answer, looks what is there."""

    writes = 125

    def __init__(self, browser, name):
        self.browser = browser
        self.number = 0
        self.browser.post(f"/login?user={name}")
        self.name = str(name)

    def write_all(self):
        while self.number < self.writes:
            self.number += 1
            try:
                answer = self.browser.post(f"/put?key=number&value={self.number}")
            except (OSError, HTTPException):
                self.check(maybe=self.number - 1)
            else:
                assert answer.status == 200

    def check(self, maybe=None):
        assert _retried(self.browser, "/get?key=user").text == self.name
        expected = [str(self.number)] if maybe is None else [str(self.number), str(maybe) if maybe else "nothing"]
        assert _retried(self.browser, "/get?key=number").text in expected


def _retried(browser, path):
    """Send a request until it is answered: its worker may be killed."""
    deadline = time.monotonic() + TIMEOUT
    while True:
        try:
            return browser.get(path)
        except (OSError, HTTPException):
            assert time.monotonic() < deadline, "the server does not answer any more"
            time.sleep(0.02)


def test_preloaded_workers_never_hand_out_an_id_twice(tmp_path):
    """T-02: a forked generator of random numbers would."""
    with running("gunicorn-preload-sync", "desk:application", tmp_path, "--workers=4") as server:

        def log_in(number):
            browsers = [server.browser() for _ in range(125)]
            return [browser.post(f"/login?user={number}") and browser.cookies["id"] for browser in browsers]

        parts = at_once([lambda number=number: log_in(number) for number in range(8)])
    tokens = [token for part in parts for token in part]
    assert len(tokens) == 1000
    assert len({token.split(".")[0] for token in tokens}) == 1000
    assert len({token.split(".")[1] for token in tokens}) == 1000
    assert len(stored_records(tmp_path)) == 1000


@pytest.mark.parametrize("kind", ["gunicorn-gthread", "waitress"])
def test_no_visitor_sees_another(kind, tmp_path):
    """T-67: 1,000 interleaved requests of 40 users, over a list of headers that all responses share."""
    with running(kind, "desk:application", tmp_path) as server:

        def live(number):
            browsers = {f"user{number}-{index}": server.browser() for index in range(5)}
            for user, browser in browsers.items():
                browser.post(f"/login?user={user}")
            for _ in range(24):
                for user, browser in browsers.items():
                    answer = browser.get("/get?key=user")
                    assert answer.text == user
                    assert not answer.set_cookies
            return len(browsers)

        assert sum(at_once([lambda number=number: live(number) for number in range(8)])) == 40
        assert server.browser().get("/plain").headers == server.browser().get("/plain").headers


@pytest.mark.parametrize("kind", ["wsgiref", "waitress", "gunicorn-sync"])
def test_two_cookie_headers_are_an_anonymous_request(kind, tmp_path):
    """T-39: servers join them with a comma, which separates no cookies."""
    with running(kind, "desk:application", tmp_path) as server:
        browser = server.browser()
        browser.post("/login?user=anna")
        connection = HTTPConnection("127.0.0.1", server.port, timeout=TIMEOUT)
        connection.putrequest("GET", "/get?key=user")
        connection.putheader("Cookie", f"id={browser.cookies['id']}")
        connection.putheader("Cookie", "other=1")
        connection.putheader("Connection", "close")
        connection.endheaders()
        with connection.getresponse() as response:
            assert (response.status, response.read()) == (200, b"nothing")
        connection.close()
        assert browser.get("/get?key=user").text == "anna"


@pytest.mark.parametrize(("trusted", "scheme"), [("127.0.0.1", "https"), ("192.0.2.1", "http")])
def test_only_the_server_decides_whether_a_proxy_spoke_https(trusted, scheme, tmp_path):
    """T-41: the middleware looks at wsgi.url_scheme, not at X-Forwarded-Proto."""
    options = (f"--forwarded-allow-ips={trusted}",)
    with running("gunicorn-sync", "desk:secure", tmp_path, *options) as server:
        answer = server.browser().get("/scheme", {"X-Forwarded-Proto": "https"})
    assert answer.text == f"{scheme}!"
    assert "; Secure" in answer.set_cookies[0]
    assert ("Secure cookie was sent over http" in server.log) == (scheme == "http")


@pytest.mark.parametrize("kind", TWO_WORKERS)
def test_gunicorn_still_sends_files_by_itself(kind, tmp_path):
    with running(kind, "desk:application", tmp_path, "--workers=1") as server:
        browser = server.browser()
        answer = browser.get("/file")
        assert answer.text == (ROOT / "tests/apps/desk.py").read_text()
        assert len(answer.set_cookies) == 1
        assert browser.get("/was-file-wrapper").text == "True 1"


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="only Linux tells which files a process has open")
def test_a_worker_opens_no_more_and_more_files(tmp_path):
    with running("gunicorn-sync", "desk:application", tmp_path, "--workers=1") as server:
        browser = server.browser()
        counts = []
        for number in range(40):
            browser.post(f"/login?user={number}")
            browser.post("/put?key=a&value=b")
            browser.get("/get?key=a")
            browser.post("/logout")
            counts.append(browser.get("/descriptors").text)
        assert len(set(counts[5:])) == 1


@pytest.mark.parametrize("kind", [kind for kind in COMMANDS if kind not in GUNICORN])
def test_other_servers_get_their_own_file_wrapper(kind, tmp_path):
    with running(kind, "desk:application", tmp_path) as server:
        browser = server.browser()
        assert browser.get("/file").text == (ROOT / "tests/apps/desk.py").read_text()
        assert browser.get("/was-file-wrapper").text.startswith("True")


def test_the_sweeper_lives_in_every_preloaded_worker(tmp_path):
    """T-68: the thread that a request started in the master does not survive the fork."""
    store = FileStore(tmp_path / "sessions")
    store.create(Record("expired", b"payload", clock.now() + 100))
    with running("gunicorn-preload-gthread", "swept:application", tmp_path) as server:
        browser = server.browser()
        sweeps = defaultdict(set)

        def both_go_on():
            pid, count = browser.get("/").text.split()
            sweeps[pid].add(int(count))
            return len(sweeps) == 2 and min(map(len, sweeps.values())) >= 3

        wait_until(both_go_on, "sweeps in both workers")
        assert str(server.process.pid) not in sweeps
        wait_until(lambda: not list((tmp_path / "sessions").glob("*/[0-9a-f]*")), "the end of an expired record")


@pytest.fixture(scope="module", params=TWO_WORKERS)
def failing_server(request, tmp_path_factory):
    directory = tmp_path_factory.mktemp("faults")
    with running(request.param, "faults:application", directory, quiet=False) as server:
        yield server


class TestStoreErrors:
    """T-50: gunicorn closes the connection without an answer when an OSError leaves the application."""

    EVENTS = (
        ("/load", "open"),
        ("/change", "open"),
        ("/change", "os.rename"),
        ("/save", "os.rename"),
        ("/cycle", "os.rename"),
        ("/flush", "os.remove"),
    )
    ERRORS = ("ENOSPC", "EDQUOT", "EIO", "EROFS", "EMFILE", "EPIPE", "ECONNRESET", "ENOTCONN", "ETIMEDOUT")

    @pytest.mark.parametrize(("page", "event"), EVENTS)
    def test_a_store_error_is_answered_503(self, failing_server, page, event):
        browser = failing_server.browser()
        assert browser.post("/change").text == "1"
        before = browser.cookies["id"]
        for error in self.ERRORS:
            logged = failing_server.log.count("answered 503")
            answer = browser.post(f"{page}?errno={error}&event={event}")
            assert (answer.status, answer.set_cookies) == (503, [])
            assert answer.header("Retry-After") is not None
            assert failing_server.log.count("answered 503") == logged + 1
            assert os.strerror(getattr(errno, error)) in failing_server.log
        assert browser.cookies["id"] == before
        assert browser.post("/load").text == "1"

    @pytest.mark.parametrize("event", ["open", "os.link"])
    def test_a_new_session_that_cannot_be_stored_gets_no_cookie(self, failing_server, event):
        for error in self.ERRORS:
            answer = failing_server.browser().post(f"/change?errno={error}&event={event}")
            assert (answer.status, answer.set_cookies) == (503, [])

    def test_an_error_after_the_head_is_only_logged(self, failing_server):
        browser = failing_server.browser()
        browser.post("/change")
        answer = browser.post("/stream?errno=EPIPE&event=os.rename")
        assert (answer.status, answer.text) == (200, "first second")
        wait_until(lambda: "changes made while the body was sent are lost" in failing_server.log, "a line in the log")
        assert browser.post("/load").text == "1"

    def test_a_request_without_a_session_does_not_notice(self, failing_server):
        answer = failing_server.browser().post("/plain?errno=EIO&event=open")
        assert (answer.status, answer.text) == (200, "plain")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own, of 256 KiB."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    command = ["mount", "-t", "tmpfs", "-o", "size=256k,mode=700", "tmpfs", str(tmp_path)]
    mounted = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)
    if mounted.returncode:
        pytest.skip(f"this machine does not let us mount a small file system: {mounted.stderr.strip()}")
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True, timeout=TIMEOUT)


def _write_until_full(file, data):
    while True:
        try:
            file.write(data)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                return
            raise


@contextmanager
def filled(directory: Path):
    """Leave no room on a disk inside the block."""
    filler = directory / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (4096, 1):
            _write_until_full(file, b"x" * size)
    try:
        yield
    finally:
        filler.unlink()


def test_a_full_disk_loses_nothing_that_was_stored(small_disk, tmp_path_factory):
    """T-51."""
    elsewhere = tmp_path_factory.mktemp("log")
    (elsewhere / "sessions").symlink_to(small_disk, target_is_directory=True)
    with running("gunicorn-sync", "full_disk:application", elsewhere, quiet=False) as server:
        browser = server.browser()
        assert browser.post("/put?key=old&value=stored").status == 200
        with filled(small_disk):
            answer = browser.post("/put?key=new&value=" + "v" * 4000)
            assert (answer.status, answer.set_cookies) == (503, [])
            answer = server.browser().post("/put?key=new&value=" + "v" * 4000)
            assert (answer.status, answer.set_cookies) == (503, [])
            assert browser.get("/get?key=old").text == "stored"
            assert server.browser().get("/plain").status == 200
        assert browser.post("/put?key=new&value=again").status == 200
        assert browser.get("/get?key=old").text == "stored"
        assert browser.get("/get?key=new").text == "again"
