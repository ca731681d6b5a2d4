"""``make demo``: it ends well, it notices what is wrong, and it leaves nothing behind."""

import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest
from servers import ROOT, TIMEOUT, ended, running

from demo.browser import Browser
from demo.visitor import NotAsItShouldBe, visit

pytestmark = pytest.mark.servers


def run_make(directory, *arguments):
    """Run what ``make demo`` runs, without the installation before it."""
    command = [sys.executable, "-W", "error", "-m", "demo", *arguments]
    environment = {**os.environ, "TMPDIR": str(directory)}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


@contextmanager
def serving(directory):
    """Run the demo up to the point at which it waits for Ctrl-C; return the process, what it said, and its port."""
    process = run_make(directory)
    with ended(process):
        lines = []
        for line in process.stdout:
            lines.append(line)
            found = re.match(r"Serving at http://127\.0\.0\.1:(\d+)/", line)
            if found:
                yield process, lines, int(found[1])
                return
        raise AssertionError("".join(lines))


def test_once_ends_with_0_after_every_step(tmp_path):
    process = run_make(tmp_path, "--once")
    with ended(process):
        output = process.communicate(timeout=4 * TIMEOUT)[0]
    assert process.returncode == 0, output
    assert re.findall(r"^(\d)\. ", output, re.MULTILINE) == list("12345678")
    assert "All 8 steps went as they should." in output
    assert list(tmp_path.iterdir()) == []


def test_it_prints_no_secret(tmp_path):
    process = run_make(tmp_path, "--once")
    with ended(process):
        output = process.communicate(timeout=4 * TIMEOUT)[0]
    assert "id=" in output
    assert not re.search(r"[A-Za-z0-9_-]{20}", output)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_it_is_interrupted(number, tmp_path):
    with serving(tmp_path) as (process, _, port):
        browser = Browser(port)
        assert browser.get().text == "Visit number 1 of a guest\n"
        assert browser.get().text == "Visit number 2 of a guest\n"
        assert [path.stat().st_mode & 0o777 for path in tmp_path.iterdir()] == [0o700]
        process.send_signal(number)
        rest = process.communicate(timeout=TIMEOUT)[0]
        assert process.returncode == 0
    assert "The server has stopped" in rest
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ConnectionRefusedError):
        browser.get()


def test_a_taken_port_is_said_to_be_taken(tmp_path):
    with running("wsgiref", "story:application", tmp_path) as server:
        process = run_make(tmp_path / "nothing", "--once", f"--port={server.port}")
        with ended(process):
            output = process.communicate(timeout=TIMEOUT)[0]
    assert process.returncode == 1
    assert "could not run" in output


def test_the_visitor_notices_a_server_without_sessions(tmp_path):
    with running("wsgiref", "desk:application", tmp_path, quiet=False) as server:
        with pytest.raises(NotAsItShouldBe):
            visit(server.port, lambda line: None)


def test_the_makefile_runs_the_same():
    makefile = (ROOT / "Makefile").read_text()
    assert "/python -m demo $(if $(filter-out 0,$(ONCE)),--once) $(if $(PORT),--port $(PORT))" in makefile
