from __future__ import annotations

import importlib.util
import os
import re
import socket
import subprocess
import sys
import time
from http.client import HTTPConnection
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from werkzeug.test import Client

from wsgi_sessions.stores.base import SessionStore
from wsgi_sessions.testing import StoreContract

_ROOT = Path(__file__).parent.parent
_EXAMPLE = _ROOT / "examples" / "custom_store.py"
# Seconds; a server that has not answered by then never will.
_TIMEOUT = 20


def load_example() -> ModuleType:
    specification = importlib.util.spec_from_file_location("custom_store", _EXAMPLE)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


example: Any = load_example()


class TestDictionaryStoreContract(StoreContract):
    def make_store(self) -> SessionStore:
        store: SessionStore = example.DictionaryStore()
        return store


def test_the_application_counts_visits() -> None:
    client = Client(example.application)
    assert [client.get("/").text for _ in range(3)] == [f"Visit number {visit}\n" for visit in (1, 2, 3)]
    assert Client(example.application).get("/").text == "Visit number 1\n"


def test_it_is_short_enough_to_read() -> None:
    lines = [line for line in _EXAMPLE.read_text().splitlines() if line.strip()]
    assert len(lines) <= 60


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def get(port: int, cookie: str = "") -> tuple[str, str]:
    """Return the body and the cookie that was set, waiting until the server listens."""
    deadline = time.monotonic() + _TIMEOUT
    while True:
        connection = HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT)
        try:
            connection.request("GET", "/", headers={"Cookie": cookie} if cookie else {})
            response = connection.getresponse()
            return response.read().decode(), (response.getheader("Set-Cookie") or "").partition(";")[0]
        except ConnectionRefusedError:
            assert time.monotonic() < deadline, "the server does not listen"
            time.sleep(0.05)
        finally:
            connection.close()


@pytest.mark.servers
def test_it_runs_as_a_program() -> None:
    port = free_port()
    command = [sys.executable, "-W", "error", str(_EXAMPLE), str(port)]
    environment = {**os.environ, "PYTHONPATH": str(_ROOT)}
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
        try:
            body, cookie = get(port)
            assert body == "Visit number 1\n"
            assert re.match(r"id=\S+", cookie)
            assert get(port, cookie)[0] == "Visit number 2\n"
        finally:
            process.terminate()
            process.wait(_TIMEOUT)
